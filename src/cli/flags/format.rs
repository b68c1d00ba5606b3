//! Output formats that several verbs have.

use clap::ValueEnum;

/// Text for people, or JSON for programs. The values have no help of their own: each verb documents its formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(in crate::cli) enum TextOrJson {
    #[default]
    Text,
    Json,
}
