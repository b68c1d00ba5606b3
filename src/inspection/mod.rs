//! Inspection: running an operator image to learn its version and its images, for versions that the catalogue does not contain.
//! [`job`] builds the Job, [`outcome`] reads its progress, [`output`] parses what it printed. Pure: nothing here decides when to
//! inspect, or talks to a cluster.

pub mod job;
pub mod outcome;
pub mod output;
