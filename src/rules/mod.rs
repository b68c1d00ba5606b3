//! The rules of the product: pure functions from values to values. They do no I/O, read no clock, use no random numbers, and do
//! not know how a cluster or a registry is reached.

mod adoption;
pub mod checks;
pub mod decide;
pub mod explain;
mod failed_reads;
pub mod gate;
pub mod image_set;
pub mod lookup_loop;
pub mod pin_state;
pub mod report;
pub mod requests;
pub mod schedule;
pub mod set_verification;
pub mod token_bucket;
pub mod version;
