//! From what was observed to what is to be done. Pure: the same snapshot always leads to the same decision.

use super::decision::Decision;
use super::{Catalogue, Snapshot};

/// Decides.
#[must_use]
pub fn decide(snapshot: &Snapshot, catalogue: &Catalogue<'_>) -> Decision {
    let _ = (snapshot, catalogue);
    Decision::default()
}
