//! Entry point: what was typed goes to [`imageset_controller::cli`], its exit code to the shell.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One provider for all TLS; without it kube's client does not start. It fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    imageset_controller::cli::main(std::env::args_os())
}
