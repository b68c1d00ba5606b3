//! Check for pinned images whose tag is gone from the registry while the digest is still served: nothing breaks now.

use crate::model::finding::Finding;
use crate::model::reason::Reason;
use crate::rules::checks::recheck::{Served, Standing, gathered};
use crate::rules::checks::view::View;

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    let tag_only =
        |standing: &Standing<'_>| matches!(standing, Standing::Gone { served: Served::Yes | Served::Unknown(_) });
    gathered(view, tag_only, Reason::TagGone, "no longer in the registry by tag")
}
