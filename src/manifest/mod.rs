//! Manifests that people keep in files: YAML with the place of every value, what they say of the operator and of ImageSets, and
//! the change of one value that leaves every other byte as it is. Pure; reads no file and asks nobody.
//!
//! Aliases are not followed: what is written elsewhere cannot be changed or blamed here. What is not understood is refused, with
//! line and column.

mod image_sets;
mod operator;
mod tree;

pub use image_sets::{FileEntry, FileImageSet, features, image_sets, installation};
pub use operator::{Found, KustomizedImage, OperatorImage, operator_images, with_image};
pub use tree::Place;

/// Why a manifest was refused, and where: lines and columns are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Refused {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// What is not understood.
    pub message: String,
}

impl Refused {
    fn at(place: &Place, message: impl Into<String>) -> Self {
        Self { line: place.line, column: place.column, message: message.into() }
    }
}
