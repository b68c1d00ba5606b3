//! Flags that several verbs have: each is declared once and flattened into their arguments.

pub(super) mod before_verb;
pub(super) mod cluster;
pub(super) mod digests;
pub(super) mod format;
pub(super) mod installation;
pub(super) mod operator_output;
pub(super) mod registry;
pub(super) mod release;
pub(super) mod timeout;
