//! Deciding with lookups: a decision says what it needs to know of registries, that is looked up, and it is made again.

use crate::catalogue::Catalogue;
use crate::model::decision::Decision;
use crate::model::lookups::LookupResults;
use crate::model::snapshot::Snapshot;
use crate::rules::decide::decide;

/// Rounds of lookups: the operators' labels, the images, and one for what came of them. What is not known by then is looked up by the
/// next reconcile.
const ROUNDS: usize = 4;

/// Decides until nothing is left to look up. `look_up` puts the responses into the snapshot, and returns false where it cannot look
/// anything up.
pub async fn decide_with_lookups(
    snapshot: &mut Snapshot,
    catalogue: &Catalogue<'_>,
    mut look_up: impl AsyncFnMut(&mut Snapshot, &Decision) -> bool,
) -> Decision {
    let mut decision = decide(snapshot, catalogue);
    for _ in 0..ROUNDS {
        if decision.lookups.is_empty() || !look_up(snapshot, &decision).await {
            break;
        }
        decision = decide(snapshot, catalogue);
    }
    decision
}

/// Adds responses to those that are known.
pub fn add(known: &mut LookupResults, more: LookupResults) {
    known.images.extend(more.images);
    known.operators.extend(more.operators);
    known.releases.extend(more.releases);
}
