//! `catalogue`: which operator releases are known (`list`), and the maintainer's verb that adds one to the data of a
//! checkout from the operator's own printed output (`add`).

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};

use super::columns;
use super::output::{Answer, Failure};
use crate::catalogue::Catalogue;
use crate::catalogue::{Addition, FILE_NAME};
use crate::inspection::output;

/// The largest data file that is read, in bytes.
const DATA_LIMIT: usize = 4 * 1024 * 1024;

/// Show the operator releases that this build knows, or add one to the data of a checkout.
#[derive(Debug, Args)]
pub(super) struct Arguments {
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

    /// The folder of the catalogue in the checkout
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.verb {
        Verb::List => Ok(list()),
        Verb::Add(arguments) => add(arguments),
    }
}

fn list() -> Answer {
    let head = ["OPERATOR", "CALICO", "ENTERPRISE"].map(str::to_owned);
    let releases = Catalogue::embedded().versions();
    let releases =
        releases.map(|(release, calico, enterprise)| [release.to_string(), calico.to_string(), enterprise.to_string()]);
    let rows: Vec<[String; 3]> = std::iter::once(head).chain(releases).collect();
    let widths = columns::widths(rows.iter().map(<[String; 3]>::as_slice));
    Answer::lines(rows.iter().map(|row| columns::row(row, &widths, "  ")))
}

fn add(arguments: &AddArguments) -> Result<Answer, Failure> {
    if [&arguments.version_file, &arguments.images_file].iter().all(|file| is_standard_input(file)) {
        return Err(Failure::new("only one of --version-file and --images-file can be standard input"));
    }
    let path = arguments.data.join(FILE_NAME);
    let text = read(&path, DATA_LIMIT).map_err(|error| {
        Failure::from(error).hint("run this in a checkout of imageset-controller, or name its folder with --data")
    })?;
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::new(format!("the catalogue {} cannot be read: {error}", path.display()))
            .hint("undo the last change to that file; it is written by this verb only")
    };
    let mut catalogue = Catalogue::parse(&text).map_err(|error| unusable(&error))?;
    catalogue.check().map_err(|error| unusable(&error))?;

    let version = read(&arguments.version_file, output::LIMIT)?;
    let images = read(&arguments.images_file, output::LIMIT)?;
    let images = output::parse(&version, &images).map_err(|error| {
        Failure::new(error.to_string()).hint(
            "run the operator's image once with --version and once with --print-images=list, and give both outputs \
             as they are",
        )
    })?;
    let release = images.release();
    let addition = catalogue.add(&images).map_err(|error| {
        Failure::new(error.to_string()).hint(
            "a release never changes: find out which of the two is of a fork, and if the catalogue is wrong remove \
             the release from it first",
        )
    })?;
    match addition {
        Addition::AlreadyKnown => Ok(Answer::text(format!("operator {release} is known already; nothing changed"))),
        Addition::Added => {
            replace(&path, &catalogue.to_text())?;
            Ok(Answer::text(format!("added operator {release} to {}", path.display())))
        }
    }
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads a file of at most `limit` bytes.
fn read(path: &Path, limit: usize) -> anyhow::Result<String> {
    let mut text = String::new();
    let at_most = u64::try_from(limit)?.saturating_add(1);
    if is_standard_input(path) {
        io::stdin().lock().take(at_most).read_to_string(&mut text).context("standard input cannot be read")?;
    } else {
        let cannot_read = || format!("{} cannot be read", path.display());
        File::open(path)
            .with_context(cannot_read)?
            .take(at_most)
            .read_to_string(&mut text)
            .with_context(cannot_read)?;
    }
    ensure!(text.len() <= limit, "{} has more than {limit} bytes", path.display());
    Ok(text)
}

/// Replaces a file as a whole, so that a full disk leaves the old one.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("txt.new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}
