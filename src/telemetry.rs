//! Logs: text for people, JSON for collectors, to standard error.

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line per happening.
    #[default]
    Text,
    /// One JSON object per happening.
    Json,
}

/// kube logs whole bodies where it cannot decode them, secrets included; that target stays silent.
const SILENCED: [(&str, LevelFilter); 1] = [("kube_client::client", LevelFilter::ERROR)];

/// Starts logging. `level` is a level or a filter such as `info,imageset_controller=debug`.
///
/// # Errors
/// The filter cannot be understood.
pub fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let mut filter: Targets = level.parse().map_err(|error| format!("{level:?} is not a log level: {error}"))?;
    for (target, level) in SILENCED {
        filter = filter.with_target(target, level);
    }
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => {
            let logs = logs.with_ansi(console::colors_enabled_stderr());
            tracing_subscriber::registry().with(logs.with_filter(filter)).try_init()
        }
        LogFormat::Json => tracing_subscriber::registry().with(logs.json().with_filter(filter)).try_init(),
    };
    started.map_err(|error| error.to_string())
}
