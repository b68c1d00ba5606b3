//! Check for pinned images whose tag is gone from the registry while the digest is still served: nothing breaks now.

use crate::model::{Finding, Reason};
use crate::rules::checks::input::CheckInput;
use crate::rules::checks::recheck::findings_per_set;
use crate::rules::pin_state::{PinState, Served};

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let tag_only =
        |state: &PinState<'_>| matches!(state, PinState::Gone { served: Served::Yes(_) | Served::Unknown(_) });
    findings_per_set(input, tag_only, Reason::TagGone, "no longer in the registry by tag")
}
