//! The command line: arguments in, one verb called, exit code out. Each verb has a file in `verbs` and returns its [`Output`] or a
//! [`Failure`]; only [`output`] writes them. Verbs share `flags` (arguments), `inputs` (what they read) and `edits` (what they change).
//!
//! Exit codes, the same for every verb:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; in sync |
//! | 1 | drift: what was checked differs from what it should be; what was waited for is held |
//! | 2 | could not tell or could not do it; wrong arguments, too |

mod edits;
mod flags;
mod inputs;
pub mod output;
mod runtime;
mod verbs;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use output::{Failure, Output};
use verbs::{
    bundle, catalogue, completion, crds, disarm, explain, generate, images, pin, plan, prepare, refresh, run, status,
    suspend, verify, version,
};

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

/// The file name by which kubectl runs this program as `kubectl imageset`.
const PLUGIN: &str = "kubectl-imageset";

/// The file name by which kubectl runs this program to complete `kubectl imageset`.
const PLUGIN_COMPLETION: &str = "kubectl_complete-imageset";

/// Runs one command line and returns its exit code.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = flags::registry::with_plain_http_values(arguments.into_iter().collect());
    let command = command(arguments.first());
    if arguments.first().and_then(program_name) == Some(PLUGIN_COMPLETION) {
        let words: Vec<String> = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        return output::finish(Ok(completion::of_kubectl(&command, &words)));
    }
    let arguments = flags::before_verb::behind_verb(&command, arguments);
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
        // `--help` and `--version` are errors to clap.
        Err(help) if !help.use_stderr() => Ok(Output::text(help.render().to_string())),
        Err(error) => Err(Failure::usage(error.render().to_string())),
    })
}

/// Returns the name by which the program is called.
fn program_name(program: &OsString) -> Option<&str> {
    Path::new(program).file_stem()?.to_str()
}

/// Returns the parser. Installed as `kubectl-imageset`, its help shows the command as people type it then.
fn command(program: Option<&OsString>) -> clap::Command {
    let command = Arguments::command();
    if program.and_then(program_name) != Some(PLUGIN) {
        return command;
    }
    let renamed = |text: String| text.replace("imageset-controller ", "kubectl imageset ");
    let command = command.bin_name("kubectl imageset").display_name("kubectl imageset");
    command.mut_subcommands(|verb| match verb.get_after_help().map(ToString::to_string) {
        Some(help) => verb.after_help(renamed(help)),
        None => verb,
    })
}
