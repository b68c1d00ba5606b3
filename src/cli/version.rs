//! `version`: which build this is, and which operator releases it knows. Asks nobody.

use clap::Args;
use serde::Serialize;

use super::output::{Answer, Failure};
use crate::catalogue::Catalogue;
use crate::model::release::Release;

/// Print the version of this build, and which operator releases it knows.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller version
  imageset-controller version -o json")]
pub(super) struct Arguments {
    /// How to print it
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    operator_releases: usize,
    newest_operator: Option<Release>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let catalogue = Catalogue::embedded();
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        operator_releases: catalogue.releases().len(),
        newest_operator: catalogue.newest(),
    };
    if arguments.output == "json" {
        let text = serde_json::to_string_pretty(&version);
        return text.map(Answer::text).map_err(|error| Failure::new(format!("the version cannot be written: {error}")));
    }
    let newest = version.newest_operator.map(|newest| format!(", the newest is {newest}")).unwrap_or_default();
    Ok(Answer::text(format!(
        "imageset-controller v{}\nknows {} operator releases{newest}",
        version.version, version.operator_releases
    )))
}
