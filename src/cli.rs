//! The command line: arguments in, one verb called, exit code out. Each verb has a file of its own and returns its
//! [`Answer`] or a [`Failure`]; only [`output`] writes them.
//!
//! Exit codes, the same for every verb:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; in sync |
//! | 1 | drift: what was checked differs from what it should be; what was waited for is held |
//! | 2 | could not tell or could not do it; wrong arguments, too |

mod bundle;
mod catalogue;
mod changes;
mod columns;
mod completion;
mod connection;
mod crds;
mod credential_helpers;
mod disarm;
mod explain;
mod files;
mod generate;
mod image_set;
mod images;
mod live;
pub mod output;
mod pin;
mod plan;
mod prepare;
mod recorded;
mod refresh;
mod registry;
mod run;
pub mod screen;
mod status;
mod surroundings;
mod suspend;
mod verify;
mod version;
mod what_if;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::catalogue::Catalogue;
use crate::model::feature::Feature;
use crate::model::operator_images::OperatorImages;
use crate::model::reason::Reason;
use crate::model::release::{Release, Variant};
use output::{Answer, Failure};

/// Keeps a Calico cluster that is pinned by digest upgradable: builds, verifies and applies the tigera-operator's
/// ImageSet before an upgrade lands.
#[derive(Debug, Parser)]
#[command(name = "imageset-controller", version, subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Status(status::Arguments),
    Plan(plan::Arguments),
    Prepare(prepare::Arguments),
    Refresh(refresh::Arguments),
    /// Stop all work on the policy, the gate's list included, until it is resumed.
    #[command(after_help = "Example:\n  imageset-controller suspend")]
    Suspend(suspend::Arguments),
    /// Go on with a policy that was suspended.
    #[command(after_help = "Example:\n  imageset-controller resume")]
    Resume(suspend::Arguments),
    Disarm(disarm::Arguments),
    Generate(generate::Arguments),
    Pin(pin::Arguments),
    Verify(verify::Arguments),
    Explain(explain::Arguments),
    Images(images::Arguments),
    Bundle(bundle::Arguments),
    Crds(crds::Arguments),
    Catalogue(catalogue::Arguments),
    Version(version::Arguments),
    Completion(completion::Arguments),
    Run(run::Arguments),
}

/// The name under which kubectl finds it as `kubectl imageset`.
const PLUGIN: &str = "kubectl-imageset";

/// Runs one command line and says with which code to exit.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = command(arguments.first());
    let parsed = command.clone().try_get_matches_from(arguments);
    output::finish(match parsed.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(Arguments { verb: Verb::Status(arguments) }) => status::run(&arguments),
        Ok(Arguments { verb: Verb::Plan(arguments) }) => plan::run(&arguments),
        Ok(Arguments { verb: Verb::Prepare(arguments) }) => prepare::run(&arguments),
        Ok(Arguments { verb: Verb::Refresh(arguments) }) => refresh::run(&arguments),
        Ok(Arguments { verb: Verb::Suspend(arguments) }) => suspend::run(&arguments, true),
        Ok(Arguments { verb: Verb::Resume(arguments) }) => suspend::run(&arguments, false),
        Ok(Arguments { verb: Verb::Disarm(arguments) }) => disarm::run(&arguments),
        Ok(Arguments { verb: Verb::Generate(arguments) }) => generate::run(&arguments),
        Ok(Arguments { verb: Verb::Pin(arguments) }) => pin::run(&arguments),
        Ok(Arguments { verb: Verb::Verify(arguments) }) => verify::run(&arguments),
        Ok(Arguments { verb: Verb::Explain(arguments) }) => explain::run(&arguments),
        Ok(Arguments { verb: Verb::Images(arguments) }) => images::run(&arguments),
        Ok(Arguments { verb: Verb::Bundle(arguments) }) => bundle::run(&arguments),
        Ok(Arguments { verb: Verb::Crds(arguments) }) => crds::run(&arguments),
        Ok(Arguments { verb: Verb::Catalogue(arguments) }) => catalogue::run(&arguments),
        Ok(Arguments { verb: Verb::Version(arguments) }) => version::run(&arguments),
        Ok(Arguments { verb: Verb::Completion(arguments) }) => completion::run(&arguments, command),
        Ok(Arguments { verb: Verb::Run(arguments) }) => run::run(arguments),
        // `--help` and `--version` are answers; clap words both them and its complaints.
        Err(asked) if !asked.use_stderr() => Ok(Answer::text(asked.render().to_string())),
        Err(wrong) => Err(Failure::usage(wrong.render().to_string())),
    })
}

/// What can be typed. Installed as `kubectl-imageset` it speaks of itself as people call it then.
fn command(program: Option<&OsString>) -> clap::Command {
    let command = Arguments::command();
    let name = program.and_then(|program| Path::new(program).file_stem()?.to_str());
    if name != Some(PLUGIN) {
        return command;
    }
    let renamed = |text: String| text.replace("imageset-controller ", "kubectl imageset ");
    let command = command.bin_name("kubectl imageset").display_name("kubectl imageset");
    command.mut_subcommands(|verb| match verb.get_after_help().map(ToString::to_string) {
        Some(help) => verb.after_help(renamed(help)),
        None => verb,
    })
}

/// One thread is enough for everything that this program does: it waits.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::new(format!("the asynchronous runtime cannot be started: {error}")))
}

/// A variant as a person may write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum VariantArgument {
    /// Open-source Calico.
    #[default]
    #[value(name = "Calico")]
    Calico,
    /// Calico Enterprise, by the names that Installations have for it, too.
    #[value(name = "Enterprise", alias = "TigeraSecureEnterprise", alias = "CalicoEnterprise")]
    Enterprise,
}

impl From<VariantArgument> for Variant {
    fn from(argument: VariantArgument) -> Self {
        match argument {
            VariantArgument::Calico => Self::Calico,
            VariantArgument::Enterprise => Self::Enterprise,
        }
    }
}

/// An object that makes the operator insist on further images, as a person may write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FeatureArgument(Feature);

impl ValueEnum for FeatureArgument {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [FeatureArgument; Feature::ALL.len()] = {
            let mut all = [FeatureArgument(Feature::ApiServer); Feature::ALL.len()];
            let mut at = 0;
            while at < all.len() {
                all[at] = FeatureArgument(Feature::ALL[at]);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.kind()))
    }
}

/// The images of a release, or what to do about a release that the catalogue does not know.
fn known_images(release: Release) -> Result<OperatorImages, Failure> {
    Catalogue::embedded().get(&release).ok_or_else(|| unknown_release(release))
}

/// The images of an operator by what it printed of itself.
fn printed_images(version: &Path, images: &Path) -> Result<OperatorImages, Failure> {
    let read = |path: &Path| files::read(&path.to_string_lossy());
    crate::inspection::output::parse(&read(version)?, &read(images)?).map_err(|error| {
        Failure::new(error.to_string())
            .hint("run the operator's image once with --version and once with --print-images=list, and keep both outputs whole")
    })
}

/// What to do about a release that the catalogue does not know.
fn unknown_release(release: Release) -> Failure {
    let newest = Catalogue::embedded().newest().map_or_else(String::new, |newest| format!(" (the newest is {newest})"));
    Failure::new(format!("operator {release} is not among the releases that this build knows{newest}"))
        .reason(Reason::OperatorVersionUnknown)
        .hint(
            "use a newer imageset-controller, or ask the operator itself: run its image once with --version and once with \
             --print-images=list, keep both outputs, and give them: generate --version-file FILE --images-file FILE; `imageset-controller catalogue \
             add` adds them to a checkout",
        )
}
