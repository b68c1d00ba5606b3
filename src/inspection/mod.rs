//! Asking an operator image itself what it is and which images it deploys, for versions that the catalogue does not
//! know. [`output`] reads what it prints; nothing here decides when to ask.

pub mod output;
