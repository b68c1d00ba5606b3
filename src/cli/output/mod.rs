//! The only writer to standard output and standard error, and so the last place that keeps foreign text from commanding a terminal or a
//! CI system. Standard output gets the output of the verb and nothing else. Failures go to standard error as `error:` and `hint:` lines;
//! progress goes there too, on a terminal only.

pub(super) mod columns;
pub(super) mod digest_changes;
mod failure;
pub(super) mod image_set_file;
mod progress;
mod refreshed;
pub(super) mod registry_failure;
pub(super) mod serialized;
pub mod status_view;
mod text;

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::model::foreign_text::{for_terminal, without_controls};

pub use failure::Failure;
pub use progress::Progress;
pub use refreshed::Refreshed;
use text::Kind;
pub use text::Output;

/// Writes what a verb returned, and returns its exit code. A reader that went away (`| head`) has what it needed; a full disk is a
/// failure.
#[must_use]
pub fn finish(result: Result<Output, Failure>) -> ExitCode {
    match result {
        Ok(output) => match write_output(&mut io::stdout().lock(), &output, console::colors_enabled()) {
            Ok(()) => ExitCode::from(output.code),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(output.code),
            Err(error) => fail(&Failure::new(format!("the answer could not be written: {error}"))),
        },
        Err(failure) => fail(&failure),
    }
}

/// Writes a line to standard error, for a person.
pub fn note(message: &str) {
    // Where standard error is closed, there is no other way to report it.
    let _ = writeln!(io::stderr().lock(), "{}", for_terminal(message, false));
}

fn fail(failure: &Failure) -> ExitCode {
    let _ = write_failure(&mut io::stderr().lock(), failure);
    ExitCode::from(failure.code)
}

/// Writes an output, with colours or without.
fn write_output(writer: &mut impl Write, output: &Output, colours: bool) -> io::Result<()> {
    let text = match output.kind {
        Kind::File => Cow::Borrowed(output.text.as_str()),
        Kind::Lines => for_terminal(&output.text, colours),
        Kind::Commands => without_controls(&output.text, colours),
    };
    writer.write_all(text.as_bytes())?;
    if output.kind != Kind::File && !output.text.is_empty() && !output.text.ends_with('\n') {
        writer.write_all(b"\n")?;
    }
    writer.flush()
}

fn write_failure(writer: &mut impl Write, failure: &Failure) -> io::Result<()> {
    if failure.is_whole {
        return writeln!(writer, "{}", for_terminal(failure.message.trim_end(), false));
    }
    let reason = failure.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    writeln!(writer, "error: {}{reason}", for_terminal(&failure.message, false))?;
    if let Some(hint) = failure.hint.as_ref().filter(|hint| !hint.is_empty()) {
        writeln!(writer, "hint: {}", for_terminal(hint, false))?;
    }
    failure.others.iter().try_for_each(|other| write_failure(writer, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut buffer = Vec::new();
        write(&mut buffer).unwrap();
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_failure_is_printed_with_its_reason_and_hint() {
        let failure = Failure::new("it is not known").reason(Reason::OperatorVersionUnknown).hint("look elsewhere");
        assert_eq!(
            written(|buffer| write_failure(buffer, &failure)),
            "error: it is not known (OperatorVersionUnknown)\nhint: look elsewhere\n"
        );
    }

    #[test]
    fn each_failure_is_printed() {
        let failure = Failure::new("one").hint("").and(Failure::new("two").hint("help"));
        assert_eq!(written(|buffer| write_failure(buffer, &failure)), "error: one\nerror: two\nhint: help\n");
    }

    #[test]
    fn output_ends_with_a_newline_and_empty_output_stays_empty() {
        let written = |output: &Output| written(|buffer| write_output(buffer, output, false));
        assert_eq!(written(&Output::text("a")), "a\n");
        assert_eq!(written(&Output::lines(["a", "b"])), "a\nb\n");
        assert_eq!(written(&Output::default()), "");
    }

    #[test]
    fn foreign_text_cannot_command_a_terminal_or_a_ci_system() {
        let hostile = "a\u{1b}]0;title\u{7}\n::error::b\nc\u{9b}31m";
        let shown = "a?]0;title?\n: :error::b\nc?31m\n";
        for colours in [false, true] {
            assert_eq!(written(|buffer| write_output(buffer, &Output::text(hostile), colours)), shown);
        }
        let failure = Failure::new(hostile).hint(hostile);
        assert_eq!(written(|buffer| write_failure(buffer, &failure)), format!("error: {shown}hint: {shown}"));
        let failure = Failure::usage(hostile);
        assert_eq!(written(|buffer| write_failure(buffer, &failure)), shown);
        // An answer that is made of commands has those that it means.
        let commands = Output::commands(["::error title=a::b%0Ac\u{1b}".to_owned()]);
        assert_eq!(written(|buffer| write_output(buffer, &commands, true)), "::error title=a::b%0Ac?\n");
        // A file is written byte for byte.
        assert_eq!(written(|buffer| write_output(buffer, &Output::file(hostile.to_owned()), false)), hostile);
    }
}
