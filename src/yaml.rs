//! YAML in and out, as this project reads and writes it everywhere: the rules of YAML 1.2 for booleans and numbers, no key twice, bounded
//! nesting and aliases, errors of one line that name line and column.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a text cannot be read: what is wrong, and at which line and column.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(Box<serde_saphyr::Error>);

/// Why a value cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WriteError(serde_saphyr::SerializeError);

/// Reads the one document of a text.
///
/// # Errors
/// The text is not YAML, has several documents, or its document is not a `T`.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, ReadError> {
    serde_saphyr::from_str_with_options(text, reading()).map_err(|error| ReadError(Box::new(error)))
}

/// Reads all documents of a text but the empty ones.
///
/// # Errors
/// The text is not YAML, or one of its documents is not a `T`.
pub fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, ReadError> {
    serde_saphyr::from_multiple_with_options(text, reading()).map_err(|error| ReadError(Box::new(error)))
}

/// Writes one document. Text of several lines becomes a block, long lines stay one line, and text that older readers would take for a
/// time, a number or a boolean is quoted.
///
/// # Errors
/// A key of a map is not a scalar.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, WriteError> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options).map_err(WriteError)
}

/// `yes`, `on`, `0755` and `1_000` are text. The limits on depth, nodes and aliases are the library's.
fn reading() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    }
}
