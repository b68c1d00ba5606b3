//! `catalogue`: which operator releases are known (`list`), and the maintainer's verb that adds one to the data of a
//! checkout from what the operator prints of itself (`add`).

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::catalogue::required::source;
use crate::catalogue::required::table::RequiredTable;
use crate::catalogue::{Addition, Catalogue, FILE_NAME, required};
use crate::cli::edits;
use crate::cli::inputs::files;
use crate::cli::output::columns;
use crate::cli::output::{Failure, Output};
use crate::inspection::output;
use crate::model::Release;

/// Show the operator releases that this build knows, or add one to the data of a checkout.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print every known operator release with the Calico and the Enterprise version that it installs
    List,
    Add(AddArguments),
}

/// Add an operator release to the catalogue of a checkout, from what the operator prints of itself.
///
/// Run the operator's image once with --version and once with --print-images=list, and keep both outputs. Then build
/// again: the catalogue is compiled in.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  imageset-controller catalogue add --version-file version.txt --images-file images.txt")]
struct AddArguments {
    /// The output of the operator's --version; `-` is standard input
    #[arg(long, value_name = "FILE")]
    version_file: PathBuf,

    /// The output of the operator's --print-images=list; `-` is standard input
    #[arg(long, value_name = "FILE")]
    images_file: PathBuf,

    /// The rules of required images, as read from the operator's source; without it a patch release has those of the release before
    #[arg(long, value_name = "FILE")]
    required_file: Option<PathBuf>,

    /// The folder of the catalogue in the checkout
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    match &arguments.verb {
        Verb::List => Ok(list()),
        Verb::Add(arguments) => add(arguments),
    }
}

fn list() -> Output {
    let head = ["OPERATOR", "CALICO", "ENTERPRISE"].map(str::to_owned);
    let releases = Catalogue::embedded().versions();
    let releases =
        releases.map(|(release, calico, enterprise)| [release.to_string(), calico.to_string(), enterprise.to_string()]);
    let rows: Vec<[String; 3]> = std::iter::once(head).chain(releases).collect();
    let widths = columns::widths(rows.iter().map(<[String; 3]>::as_slice));
    Output::lines(rows.iter().map(|row| columns::row(row, &widths, "  ")))
}

/// Returns the name and the new text of the data file of required images, with the rules of one release.
fn required(data: &Path, file: &Path, release: Release) -> Result<(String, String), Failure> {
    let name = data.join(required::FILE_NAME).to_string_lossy().into_owned();
    let text = files::read(&name)?;
    let mut table = RequiredTable::parse(&text)
        .map_err(|error| Failure::new(format!("the rules {name} cannot be read: {error}")))?;
    let file = file.to_string_lossy();
    let rules = source::rules_of(&files::read(&file)?, release)
        .map_err(|error| Failure::new(format!("{}: {error}", files::display_name(&file))))?;
    table.add(release, rules);
    Ok((name, table.to_text()))
}

fn add(arguments: &AddArguments) -> Result<Output, Failure> {
    if [&arguments.version_file, &arguments.images_file].iter().all(|file| *file == Path::new("-")) {
        return Err(Failure::new("only one of --version-file and --images-file can be standard input"));
    }
    let path = arguments.data.join(FILE_NAME);
    let name = path.to_string_lossy();
    let text = files::read(&name).map_err(|failure| {
        failure.hint("run this in a checkout of imageset-controller, or name its folder with --data")
    })?;
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::new(format!("the catalogue {} cannot be read: {error}", path.display()))
            .hint("undo the last change to that file; it is written by this verb only")
    };
    let mut catalogue = Catalogue::parse(&text).map_err(|error| unusable(&error))?;
    catalogue.check().map_err(|error| unusable(&error))?;

    let read = |path: &Path| files::read(&path.to_string_lossy());
    let (version, images) = (read(&arguments.version_file)?, read(&arguments.images_file)?);
    let images = output::parse(&version, &images).map_err(|error| {
        Failure::new(error.to_string()).hint(
            "run the operator's image once with --version and once with --print-images=list, and give both outputs \
             as they are",
        )
    })?;
    if let Some((printed, release)) = output::rebuild_of(&version) {
        return Err(Failure::new(format!(
            "operator {printed:?} is a rebuild of {release}; the catalogue has releases only"
        ))
        .hint("generate --version-file FILE --images-file FILE makes a set for a rebuild"));
    }
    let release = images.release();
    let required =
        arguments.required_file.as_deref().map(|file| required(&arguments.data, file, release)).transpose()?;
    let addition = catalogue.add(&images).map_err(|error| {
        Failure::new(error.to_string()).hint(
            "a release never changes: find out which of the two is of a fork, and if the catalogue is wrong remove \
             the release from it first",
        )
    })?;
    if let Some((name, text)) = required {
        edits::files::replace(&name, &text)?;
    }
    match addition {
        Addition::AlreadyKnown => Ok(Output::text(format!("operator {release} is known already; nothing changed"))),
        Addition::Added => {
            edits::files::replace(&name, &catalogue.to_text())?;
            Ok(Output::text(format!("added operator {release} to {}", path.display())))
        }
    }
}
