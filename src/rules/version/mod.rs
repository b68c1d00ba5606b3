//! Which operator versions run, are to run and may come, and which images each of them deploys.

pub(crate) mod discovery;
pub mod effective_catalogue;
pub(crate) mod inspection;
pub(crate) mod operator;
pub(crate) mod operator_digests;
pub(crate) mod rejected_set;
