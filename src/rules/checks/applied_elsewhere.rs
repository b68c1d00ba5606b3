//! Check for sets that are to be taken over while another tool applies them: the tool puts its content back, and the two write in turn. Reported
//! before the takeover.

use crate::model::{Finding, ObjectRef, Reason, StoredImageSet};
use crate::rules::checks::input::CheckInput;

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    if !input.snapshot.settings.take_ownership {
        return Vec::new();
    }
    let is_wanted = |set: &&StoredImageSet| input.checked_sets.iter().any(|wanted| wanted.name.as_str() == set.name);
    let unmanaged = input.sets().iter().filter(|set| !set.managed).filter(is_wanted);
    let findings = unmanaged.filter_map(|set| {
        let (tool, step) = set.applied_by?.described();
        let message = format!("{tool} applies it and will put its content back: {step}");
        Some(Finding::new(Reason::ImageSetAppliedElsewhere, ObjectRef::image_set(&set.name), message))
    });
    findings.collect()
}
