//! What differs from what is pinned, or will: a chain of small checks, one file each. A check looks at one thing, is pure and
//! returns what it found; nothing that it finds changes what is written. A new check is a file here and a line in [`CHECKS`].

pub(crate) mod blocking_set;
pub(crate) mod digest_gone;
pub(crate) mod fips;
pub(crate) mod installation;
pub(crate) mod operator_degraded;
pub(crate) mod pods;
pub(crate) mod pull_failures;
pub(crate) mod recheck;
pub(crate) mod required_image;
pub(crate) mod set_outdated;
pub(crate) mod stray_set;
pub(crate) mod tag_gone;
pub(crate) mod tag_moved;
pub(crate) mod template;
pub(crate) mod view;

use std::collections::BTreeSet;

use crate::model::finding::Finding;
use crate::model::reference::Reference;
use crate::rules::checks::view::{Look, View};

/// The checks in the order in which their findings are told.
const CHECKS: [fn(&View<'_>) -> Vec<Finding>; 11] = [
    installation::check,
    blocking_set::check,
    fips::check,
    set_outdated::check,
    required_image::check,
    digest_gone::check,
    tag_moved::check,
    tag_gone::check,
    template::check,
    pods::check,
    stray_set::check,
];

/// Everything that the checks find.
pub(crate) fn findings(view: &View<'_>) -> Vec<Finding> {
    CHECKS.iter().flat_map(|check| check(view)).collect()
}

/// What registries are to be asked for a check that is due.
pub(crate) fn questions(view: &View<'_>) -> BTreeSet<Reference> {
    recheck::questions(view)
}

/// Whether everything that a set pins was compared with the registry in this pass.
pub(crate) fn compared(view: &View<'_>, look: &Look) -> bool {
    recheck::compared(view, look)
}

/// When a check has something to tell that only time brings.
pub(crate) fn look_again(view: &View<'_>) -> Option<jiff::Timestamp> {
    template::look_again(view)
}
