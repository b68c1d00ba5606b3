//! `completion`: the script that has a shell complete verbs, flags and values. Sends no request. As `kubectl_complete-imageset`, this program
//! completes `kubectl imageset` itself.

mod candidates;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::cli::output::{Failure, Output};

/// The command that lists namespaces.
const NAMESPACES: &str = "kubectl get namespaces -o name --request-timeout=2s 2>/dev/null";

/// Print the script that completes this command in a shell.
///
/// Completes verbs, flags, versions of operators, names of images, kinds and namespaces. kubectl completes `kubectl imageset` where this
/// program is also installed as kubectl_complete-imageset.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(imageset-controller completion bash)
  imageset-controller completion zsh > \"${fpath[1]}/_imageset-controller\"
  imageset-controller completion fish > ~/.config/fish/completions/imageset-controller.fish")]
pub(in crate::cli) struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: SupportedShell,
}

/// A shell that clap can complete for and that we document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SupportedShell {
    Bash,
    Zsh,
    Fish,
}

pub(in crate::cli) fn run(arguments: &Arguments, command: clap::Command) -> Result<Output, Failure> {
    let shell = match arguments.shell {
        SupportedShell::Bash => Shell::Bash,
        SupportedShell::Zsh => Shell::Zsh,
        SupportedShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut with_values(command), "imageset-controller", &mut script);
    let text = String::from_utf8(script).map_err(|error| Failure::new(error.to_string()))?;
    Ok(Output::file(with_namespaces(arguments.shell, &text)))
}

/// Returns what kubectl asks its plugin for: one candidate per line, then `:4`, so that no files are offered; `:0` if files may be.
pub(in crate::cli) fn of_kubectl(command: &clap::Command, words: &[String]) -> Output {
    let candidates = candidates::of(command, words, namespaces);
    let directive = if candidates.is_empty() { ":0" } else { ":4" };
    Output::lines(candidates.iter().map(String::as_str).chain([directive]))
}

/// Returns the namespaces of the cluster, as kubectl lists them.
fn namespaces() -> Vec<String> {
    let output = std::process::Command::new("sh").args(["-c", NAMESPACES]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("namespace/")).map(str::to_owned).collect()
}

/// Returns the command with the values that the scripts offer. Not for parsing: a version that this build does not know is valid, too.
fn with_values(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match candidates::words(&arg) {
        values if values.is_empty() => arg,
        values => arg.value_parser(PossibleValuesParser::new(values)),
    });
    command.mut_subcommands(with_values)
}

/// Returns a script that offers namespaces behind `--namespace`, for which the generator has no words.
fn with_namespaces(shell: SupportedShell, script: &str) -> String {
    match shell {
        SupportedShell::Bash => {
            let namespaces = format!("compgen -W \"$({NAMESPACES} | cut -d/ -f2)\" -- \"${{cur}}\"");
            let of_flag = |flag: &str, values: &str| format!("{flag})\n                    COMPREPLY=($({values}))");
            ["--namespace", "-n"].iter().fold(script.to_owned(), |script, flag| {
                script.replace(&of_flag(flag, "compgen -f \"${cur}\""), &of_flag(flag, &namespaces))
            })
        }
        SupportedShell::Zsh => {
            let namespaces = format!(":NAME:{{compadd - $({NAMESPACES} | cut -d/ -f2)}}");
            let is_namespace = |line: &str| line.starts_with("'--namespace=") || line.starts_with("'-n+[Namespace");
            let line = |line: &str| match is_namespace(line) {
                true => line.replace(":NAME:_default", &namespaces),
                false => line.to_owned(),
            };
            script.split('\n').map(line).collect::<Vec<_>>().join("\n")
        }
        SupportedShell::Fish => {
            let line = |line: &str| match line.contains("-l namespace ") {
                true => format!("{line} -f -a \"({NAMESPACES} | string replace namespace/ '')\""),
                false => line.to_owned(),
            };
            script.split('\n').map(line).collect::<Vec<_>>().join("\n")
        }
    }
}
