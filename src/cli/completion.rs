//! `completion`: the script that has a shell complete verbs and flags. Asks nobody.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::output::{Answer, Failure};

/// Print the script that completes this command in a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(imageset-controller completion bash)
  imageset-controller completion zsh > \"${fpath[1]}/_imageset-controller\"
  imageset-controller completion fish > ~/.config/fish/completions/imageset-controller.fish")]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Known,
}

/// A shell that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<Answer, Failure> {
    let shell = match arguments.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "imageset-controller", &mut script);
    let text = String::from_utf8(script).map_err(|error| Failure::new(error.to_string()))?;
    Ok(Answer::exactly(text))
}
