//! `completion`: the script that has a shell complete verbs and flags. Sends no request.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::cli::output::{Failure, Output};

/// Print the script that completes this command in a shell.
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

pub(in crate::cli) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<Output, Failure> {
    let shell = match arguments.shell {
        SupportedShell::Bash => Shell::Bash,
        SupportedShell::Zsh => Shell::Zsh,
        SupportedShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "imageset-controller", &mut script);
    let text = String::from_utf8(script).map_err(|error| Failure::new(error.to_string()))?;
    Ok(Output::file(text))
}
