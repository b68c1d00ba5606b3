//! What verbs change: the policy, and files that people keep.

pub(super) mod files;
pub(super) mod policy_patch;
