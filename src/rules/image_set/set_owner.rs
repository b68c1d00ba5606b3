//! Sets under a name of ours that somebody else owns. `stored` asks, because it decides whether they count.

use crate::model::finding::Finding;
use crate::model::object_ref::ObjectRef;
use crate::model::reason::Reason;
use crate::model::stored_image_set::StoredImageSet;

/// It is all that the operator wants, and left as it is.
pub(in crate::rules) fn accepted(set: &StoredImageSet, images: usize) -> Finding {
    let message = format!("made by {} with {images} images, all that this operator wants", owner(set));
    Finding::new(Reason::ForeignImageSetAccepted, ObjectRef::image_set(&set.name), message)
}

/// The operator will refuse it.
pub(in crate::rules) fn invalid(set: &StoredImageSet, trouble: &str) -> Finding {
    Finding::new(
        Reason::ForeignImageSetInvalid,
        ObjectRef::image_set(&set.name),
        format!("made by {}: {trouble}", owner(set)),
    )
}

fn owner(set: &StoredImageSet) -> &str {
    set.manager.as_deref().unwrap_or("somebody else")
}
