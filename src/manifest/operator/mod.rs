//! The operator's image in a file, and the same text with another image in its place.

mod chart;
mod found;
mod kinds;
mod walk;

pub use found::{Addition, Holds, KustomizedImage, MissingVersion, Notice, OperatorFile, OperatorPlace, OtherImage};
pub use walk::operator_file;
