//! Check for pinned digests that the registry no longer serves. A node that does not have the image cannot pull it.

use crate::model::{Finding, Reason};
use crate::rules::checks::input::CheckInput;
use crate::rules::checks::recheck::findings_per_set;
use crate::rules::pin_state::{PinState, Served};

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let not_served = |state: &PinState<'_>| {
        matches!(state, PinState::Moved { served: Served::No, .. } | PinState::Gone { served: Served::No })
    };
    findings_per_set(input, not_served, Reason::DigestGone, "no longer in the registry by the digest that is pinned")
}
