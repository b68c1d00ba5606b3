//! Manifests that people keep in files: YAML with the place of every value, the operator's image and the ImageSets in it, and the change of
//! one value that leaves every other byte as it is. Pure; reads no files.
//!
//! Aliases are not followed: a value that is written elsewhere cannot be changed or reported here. Errors have line and column.

mod image_sets;
mod operator;
mod source;
mod tree;

pub use image_sets::{FileEntry, FileImageSet, features, image_sets, installation};
pub use operator::{
    Addition, Holds, KustomizedImage, MissingVersion, Notice, OperatorFile, OperatorPlace, OtherImage, operator_file,
};
pub use tree::Place;

/// Why a manifest is rejected, and where; lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ManifestError {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl ManifestError {
    fn at(place: &Place, message: impl Into<String>) -> Self {
        Self { line: place.line, column: place.column, message: message.into() }
    }
}
