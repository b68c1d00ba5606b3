//! The finding for a tag that has moved: assembling a set, the check against the registry and `verify` all report it.

use crate::model::{Digest, Evidence, Finding, ObjectRef, Reason, Reference};

/// Returns the finding for a tag that resolves to another digest than the pinned one.
pub(in crate::rules) fn finding(set: ObjectRef, reference: &Reference, pinned: Digest, now: Digest) -> Finding {
    Finding::new(Reason::TagMoved, set, message(reference, pinned, now)).with_evidence(Evidence::digest(&now, &pinned))
}

/// Returns the message of the finding.
pub(in crate::rules) fn message(reference: &Reference, pinned: Digest, now: Digest) -> String {
    format!("{reference} is {} now, pinned is {}", now.short(), pinned.short())
}
