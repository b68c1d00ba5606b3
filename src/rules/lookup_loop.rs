//! The loop of decisions and lookups: a decision names the lookups that it requires; with their results, the rules decide again.

use crate::catalogue::Catalogue;
use crate::model::{Decision, LookupResults, Snapshot};
use crate::rules::decide::decide;

/// Maximum number of rounds: the labels of operators, the images, and one for what follows from them. The next reconcile looks up
/// the rest.
const ROUNDS: usize = 4;

/// Decides until no lookup is left. `look_up` adds the results to the snapshot, and returns false if it cannot look anything up.
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

/// Adds results to the known ones.
pub fn add(known: &mut LookupResults, more: LookupResults) {
    known.images.extend(more.images);
    known.operators.extend(more.operators);
    known.releases.extend(more.releases);
}
