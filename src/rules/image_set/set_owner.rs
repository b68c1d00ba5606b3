//! Findings for unmanaged sets under a required name. `stored_sets` uses them, because it decides whether such a set counts.

use crate::model::{Finding, ObjectRef, Reason, StoredImageSet};

/// Returns the finding for a set that has all that the operator requires, and that is left as it is.
pub(in crate::rules) fn accepted(set: &StoredImageSet, images: usize) -> Finding {
    let message = format!("made by {} with {images} images, all that this operator wants", set.owner());
    Finding::new(Reason::ForeignImageSetAccepted, ObjectRef::image_set(&set.name), message)
}

/// Returns the finding for a set that the operator will reject.
pub(in crate::rules) fn invalid(set: &StoredImageSet, cause: &str) -> Finding {
    Finding::new(
        Reason::ForeignImageSetInvalid,
        ObjectRef::image_set(&set.name),
        format!("made by {}: {cause}", set.owner()),
    )
}
