//! Logs to standard error: text for people, JSON for collectors. One line per event, whatever it contains.

use std::io::{self, Write};

use serde_json::Value;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::model::foreign_text::{escaped_to, for_terminal};

/// Format of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line per happening.
    #[default]
    Text,
    /// One JSON object per happening.
    Json,
}

/// Targets that log secrets, and below them: kube logs bodies that it cannot decode, the signer of AWS the headers that it signs.
/// Only their errors are logged, whatever the filter says.
const SILENCED: [&str; 2] = ["kube_client::client", "aws_sigv4"];

/// Starts logging. `level` is a level, or a filter such as `info,imageset_controller=debug`.
///
/// # Errors
/// The filter is invalid.
pub fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let colours = format == LogFormat::Text && console::colors_enabled_stderr();
    let logs = tracing_subscriber::fmt::layer().with_writer(move || Log { to: io::stderr(), format, colours });
    let started = match format {
        LogFormat::Text => {
            let logs = logs.with_ansi(colours);
            tracing_subscriber::registry().with(logs.with_filter(filter)).try_init()
        }
        LogFormat::Json => tracing_subscriber::registry().with(logs.json().with_filter(filter)).try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// Returns the filter that a text names, without the targets that log secrets.
fn filter(text: &str) -> Result<Targets, String> {
    let named: Targets = text.parse().map_err(|error| format!("{text:?} is not a log level: {error}"))?;
    let is_silenced = |target: &str| SILENCED.iter().any(|silenced| target.starts_with(silenced));
    let kept =
        named.iter().filter(|(target, _)| !is_silenced(target)).map(|(target, level)| (target.to_owned(), level));
    let mut filter = Targets::new().with_targets(kept);
    if let Some(level) = named.default_level() {
        filter = filter.with_default(level);
    }
    Ok(filter.with_targets(SILENCED.map(|target| (target, LevelFilter::ERROR))))
}

/// Maximum length of an event, in bytes.
const MAX_EVENT: usize = 16 * 1024;
/// Maximum length of a text in a JSON event that exceeds [`MAX_EVENT`], in bytes.
const MAX_TEXT: usize = 1024;

/// Writes events. Each call receives one complete event.
struct Log<To> {
    to: To,
    format: LogFormat,
    colours: bool,
}

impl<To: Write> Write for Log<To> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = one_line(text.trim_end_matches('\n'), self.format, self.colours);
        self.to.write_all(format!("{line}\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Returns an event as one bounded line without control characters: untrusted text in it cannot look like another event.
fn one_line(event: &str, format: LogFormat, colours: bool) -> String {
    match format {
        LogFormat::Text => {
            let line = for_terminal(event, colours).replace('\n', "\\n").replace('\t', "\\t");
            if line.len() > MAX_EVENT { escaped_to(&line, MAX_EVENT) } else { line }
        }
        LogFormat::Json if event.len() <= MAX_EVENT => for_terminal(event, false).into_owned(),
        LogFormat::Json => {
            let short = serde_json::from_str(event).map(|mut event| {
                shorten(&mut event);
                event.to_string()
            });
            let short = short.ok().filter(|short| short.len() <= MAX_EVENT);
            let dropped = || Value::from(escaped_to(event, MAX_TEXT)).to_string();
            for_terminal(&short.unwrap_or_else(dropped), false).into_owned()
        }
    }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => *text = escaped_to(text, MAX_TEXT),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn targets_that_log_secrets_are_silent_whatever_the_filter_says() {
        for text in ["trace", "aws_sigv4=trace", "info,aws_sigv4::http_request::sign=trace,kube_client::client=debug"] {
            let filter = filter(text).unwrap();
            for target in
                ["aws_sigv4", "aws_sigv4::http_request::sign", "kube_client::client", "kube_client::client::body"]
            {
                assert!(!filter.would_enable(target, &Level::WARN), "{text}: {target}");
                assert!(filter.would_enable(target, &Level::ERROR), "{text}: {target}");
            }
        }
        assert!(
            filter("info,imageset_controller=debug").unwrap().would_enable("imageset_controller::x", &Level::DEBUG)
        );
        assert!(!filter("info").unwrap().would_enable("hyper", &Level::DEBUG));
        assert!(filter("imageset_controller=loud").is_err());
    }

    #[test]
    fn an_event_is_one_bounded_line_whatever_it_contains() {
        let hostile = format!("{}\n::error::forged\u{1b}[8m\u{9b}", "x".repeat(100_000));
        for (format, colours) in [(LogFormat::Text, true), (LogFormat::Text, false), (LogFormat::Json, false)] {
            for text in [hostile.as_str(), "short\n::error::forged\u{1b}]0;t\u{7}"] {
                let mut written = Vec::new();
                let event = match format {
                    LogFormat::Text => format!("INFO {text}\n"),
                    LogFormat::Json => format!("{}\n", serde_json::json!({ "fields": { "message": text } })),
                };
                Log { to: &mut written, format, colours }.write_all(event.as_bytes()).unwrap();
                let line = String::from_utf8(written).unwrap();
                assert_eq!((line.lines().count(), line.ends_with('\n')), (1, true), "{line}");
                assert!(line.len() <= MAX_EVENT + 8 && !line.trim_end().contains(char::is_control), "{line:?}");
                if format == LogFormat::Json {
                    serde_json::from_str::<Value>(&line).unwrap();
                }
            }
        }
        let own = "\u{1b}[2m2026\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m a";
        assert_eq!(one_line(own, LogFormat::Text, true), own);
    }
}
