//! The finding for a tag that has moved: assembling a set and the check against the registry both report it.

use crate::model::digest::Digest;
use crate::model::finding::Finding;
use crate::model::reason::Reason;
use crate::model::reference::Reference;

/// A tag that resolves to something else now.
pub(in crate::rules) fn finding(object: String, reference: &Reference, pinned: Digest, now: Digest) -> Finding {
    let (now, pinned) = (now.short(), pinned.short());
    Finding::new(Reason::TagMoved, object, format!("{reference} is {now} now, pinned is {pinned}"))
        .with_evidence(now, pinned)
}
