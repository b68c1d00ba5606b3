//! Logs: text for people, JSON for collectors, to standard error.

use tracing_subscriber::EnvFilter;

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
const SILENCED: [&str; 1] = ["kube_client::client=error"];

/// Starts logging. `level` is a level or a filter such as `info,imageset_controller=debug`.
///
/// # Errors
/// The filter cannot be understood.
pub fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let mut filter = EnvFilter::try_new(level).map_err(|error| format!("{level:?} is not a log level: {error}"))?;
    for directive in SILENCED {
        filter = filter.add_directive(directive.parse().map_err(|error| format!("{error}"))?);
    }
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => logs.with_ansi(console::colors_enabled_stderr()).try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}
