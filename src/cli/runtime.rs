//! The asynchronous runtime of verbs that wait for others.

use tokio::runtime::{Builder, Runtime};

use super::output::Failure;

/// Returns a runtime of one thread, which is enough: this program waits.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::new(format!("the asynchronous runtime cannot be started: {error}")))
}

/// Resolves at SIGTERM or SIGINT. Once this was called, neither ends the process by itself any more.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
