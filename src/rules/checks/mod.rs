//! The phase of the checks: each reports what differs from what is pinned, or will. A check is a pure function in a file of its
//! own, and its findings do not change what is written. To add a check, add a file here and a line in `CHECKS`.

pub(crate) mod applied_elsewhere;
pub(crate) mod blocking_set;
pub(crate) mod digest_gone;
pub(crate) mod fips;
pub(crate) mod input;
pub(crate) mod installation;
pub(crate) mod omitted_image;
pub(crate) mod operator_degraded;
pub(crate) mod operator_platform;
pub(crate) mod pods;
pub(crate) mod pull_failures;
pub(crate) mod recheck;
pub(crate) mod required_image;
pub(crate) mod set_outdated;
pub(crate) mod stray_set;
pub(crate) mod tag_gone;
pub(crate) mod tag_moved;
pub(crate) mod workload_template;

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::{Finding, Reference};
use crate::rules::checks::input::CheckInput;

/// The checks, in the order in which their findings are reported.
const CHECKS: &[fn(&CheckInput<'_>) -> Vec<Finding>] = &[
    installation::check,
    blocking_set::check,
    applied_elsewhere::check,
    fips::check,
    set_outdated::check,
    required_image::check,
    digest_gone::check,
    tag_moved::check,
    tag_gone::check,
    workload_template::check,
    pods::check,
    operator_platform::check,
    stray_set::check,
    omitted_image::check,
    operator_degraded::check,
    pull_failures::check,
];

/// The results of all checks.
pub(crate) struct CheckResults {
    pub findings: Vec<Finding>,
    /// Images to look up, if a comparison with the registry is due.
    pub lookups: BTreeSet<Reference>,
    /// Whether every digest of the target's set was compared with the registry.
    pub verified: bool,
    /// When a check has something to report that no change in the cluster announces.
    pub due: Option<Timestamp>,
}

/// Runs all checks.
///
/// After the sets are planned, because a check compares what is pinned now, or will be.
pub(crate) fn run(input: &CheckInput<'_>) -> CheckResults {
    CheckResults {
        findings: CHECKS.iter().flat_map(|check| check(input)).collect(),
        lookups: recheck::lookups(input),
        verified: input.target().is_some_and(|checked_set| recheck::is_compared(input, checked_set)),
        due: workload_template::due_at(input),
    }
}
