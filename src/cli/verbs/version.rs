//! `version`: which build this is, and which operator releases it knows. Sends no request.

use clap::Args;
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::cli::flags::format::TextOrJson;
use crate::cli::output::{Failure, Output, serialized};
use crate::model::Release;

/// Print the version of this build, and which operator releases it knows.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller version
  imageset-controller version -o json")]
pub(in crate::cli) struct Arguments {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: TextOrJson,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    operator_releases: usize,
    newest_operator: Option<Release>,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    let catalogue = Catalogue::embedded();
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        operator_releases: catalogue.releases().len(),
        newest_operator: catalogue.newest(),
    };
    if arguments.output == TextOrJson::Json {
        return serialized::json("the version", &version);
    }
    let newest = version.newest_operator.map(|newest| format!(", the newest is {newest}")).unwrap_or_default();
    Ok(Output::text(format!(
        "imageset-controller v{}\nknows {} operator releases{newest}",
        version.version, version.operator_releases
    )))
}
