//! Values as text for programs.

use serde::Serialize;

use super::{Failure, Output};

/// Returns a value as indented JSON. `name` is its name in the failure.
pub(in crate::cli) fn json<T: Serialize + ?Sized>(name: &str, value: &T) -> Result<Output, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(Output::text).map_err(|error| unwritable(name, &error))
}

/// Returns a value as YAML. `name` is its name in the failure.
pub(in crate::cli) fn yaml<T: Serialize>(name: &str, value: &T) -> Result<Output, Failure> {
    yaml_text(name, value).map(Output::text)
}

/// Returns the text of [`yaml`].
pub(super) fn yaml_text<T: Serialize>(name: &str, value: &T) -> Result<String, Failure> {
    crate::yaml::to_string(value).map_err(|error| unwritable(name, &error))
}

fn unwritable(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("{name} cannot be written: {error}"))
}
