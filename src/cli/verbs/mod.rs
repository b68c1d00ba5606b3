//! One file per verb, with a folder where it has parts: its arguments, and what it does with them. What verbs share is elsewhere.

pub(super) mod bundle;
pub(super) mod catalogue;
pub(super) mod completion;
pub(super) mod crds;
pub(super) mod disarm;
pub(super) mod explain;
pub(super) mod generate;
pub(super) mod images;
pub(super) mod pin;
pub(super) mod plan;
pub(super) mod prepare;
pub(super) mod refresh;
pub(super) mod run;
pub(super) mod status;
pub(super) mod suspend;
pub(super) mod verify;
pub(super) mod version;
