//! The finding for a tag that has moved: assembling a set and the check against the registry both report it.

use crate::model::{Digest, Evidence, Finding, ObjectRef, Reason, Reference};

/// Returns the finding for a tag that resolves to another digest than the pinned one.
pub(in crate::rules) fn finding(set: ObjectRef, reference: &Reference, pinned: Digest, now: Digest) -> Finding {
    let message = format!("{reference} is {} now, pinned is {}", now.short(), pinned.short());
    Finding::new(Reason::TagMoved, set, message).with_evidence(Evidence::digest(&now, &pinned))
}
