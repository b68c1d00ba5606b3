//! Check for pinned digests that the registry no longer serves. A node that does not have the image cannot pull it.

use crate::model::finding::Finding;
use crate::model::reason::Reason;
use crate::rules::checks::recheck::{Served, Standing, gathered};
use crate::rules::checks::view::View;

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    let not_served = |standing: &Standing<'_>| {
        matches!(standing, Standing::Moved { served: Served::No, .. } | Standing::Gone { served: Served::No })
    };
    gathered(view, not_served, Reason::DigestGone, "no longer in the registry by the digest that is pinned")
}
