//! Entry point: what was typed goes to [`imageset_controller::cli`], its exit code to the shell.

use std::process::ExitCode;

fn main() -> ExitCode {
    imageset_controller::cli::main(std::env::args_os())
}
