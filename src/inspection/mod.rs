//! Asking an operator image itself what it is and which images it deploys, for versions that the catalogue does not
//! know. [`job`] builds the Job that runs it, [`outcome`] tells how far one is, [`output`] reads what was printed. Pure:
//! nothing here decides when to ask, or talks to a cluster.

pub mod job;
pub mod outcome;
pub mod output;
