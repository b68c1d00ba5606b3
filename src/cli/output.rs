//! The only writer to standard output and standard error, and so the last place that keeps foreign text from commanding a
//! terminal or a CI system. Standard output gets the answer and nothing else; what went
//! wrong goes to standard error as `error:` and `hint:` lines, and progress goes there too, on a terminal only.

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};

use crate::model::foreign_text::{for_terminal, without_controls};
use crate::model::reason::Reason;

/// Exit code for "it is not as it should be".
const DRIFTED: u8 = 1;
/// Exit code for "could not tell" or "could not do it".
const FAILED: u8 = 2;

/// What a verb has to say to standard output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    text: String,
    code: u8,
    form: Form,
}

/// What kind of text an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    /// Lines for a person or a program.
    #[default]
    Lines,
    /// Somebody's file, which ends as it ends.
    File,
    /// Commands to a CI system, one per line.
    Commands,
}

impl Answer {
    /// An answer of this text; a missing newline at its end is added.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 0, form: Form::Lines }
    }

    /// A file's text, byte for byte.
    #[must_use]
    pub fn exactly(text: String) -> Self {
        Self { form: Form::File, ..Self::text(text) }
    }

    /// An answer of one line per item.
    #[must_use]
    pub fn lines<Line: ToString>(lines: impl IntoIterator<Item = Line>) -> Self {
        let lines = lines.into_iter().map(|line| line.to_string() + "\n");
        Self::text(lines.collect::<String>())
    }

    /// An answer of one command to a CI system per line. Whoever words them escapes what is foreign.
    #[must_use]
    pub fn commands(lines: impl IntoIterator<Item = String>) -> Self {
        Self { form: Form::Commands, ..Self::lines(lines) }
    }

    /// The same answer with exit code 1: what was checked differs from what it should be.
    #[must_use]
    pub fn drifted(self) -> Self {
        Self { code: DRIFTED, ..self }
    }

    /// The same answer with exit code 2: it says what is in the way of a full one.
    #[must_use]
    pub fn hindered(self) -> Self {
        Self { code: FAILED, ..self }
    }
}

/// Why a verb has no answer, for the person at the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
    reason: Option<Reason>,
    hint: Option<String>,
    /// The message is clap's, which has its own `error:` and its own hints.
    is_whole: bool,
    /// What else is wrong.
    others: Vec<Failure>,
    code: u8,
}

impl Failure {
    /// What happened, to which object.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), reason: None, hint: None, is_whole: false, others: Vec::new(), code: FAILED }
    }

    /// Arguments that make no sense, in the words of the argument parser.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { is_whole: true, ..Self::new(message) }
    }

    /// The reason of the closed list that conditions, events and metrics share.
    #[must_use]
    pub fn reason(self, reason: Reason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same failure with exit code 1: it is known that what was asked for is not so.
    #[must_use]
    pub fn known(self) -> Self {
        Self { code: DRIFTED, ..self }
    }

    /// Both, one after the other, with the worse exit code.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.code = self.code.max(other.code);
        self.others.push(other);
        self
    }
}

impl Failure {
    /// What happened, without reason and hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<anyhow::Error> for Failure {
    /// The whole chain of causes in one line.
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}

/// Writes what a verb returned, and says with which code to exit. A reader that went away (`| head`) has what it
/// wanted; a disk that is full has not.
#[must_use]
pub fn finish(result: Result<Answer, Failure>) -> ExitCode {
    match result {
        Ok(answer) => match write_answer(&mut io::stdout().lock(), &answer, console::colors_enabled()) {
            Ok(()) => ExitCode::from(answer.code),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(answer.code),
            Err(error) => fail(&Failure::new(format!("the answer could not be written: {error}"))),
        },
        Err(failure) => fail(&failure),
    }
}

/// A line for a person, beside the answer.
pub fn note(message: &str) {
    // Nothing is left to tell somebody whose standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{}", for_terminal(message, false));
}

/// A progress bar on standard error; nothing at all where that is no terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Starts at none of `total` images.
    #[must_use]
    pub fn start(title: &str, total: usize) -> Self {
        let bar = ProgressBar::new(total.try_into().unwrap_or(u64::MAX)).with_message(title.to_owned());
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} images {elapsed}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// So many images are done.
    pub fn reached(&self, done: usize) {
        self.0.set_position(done.try_into().unwrap_or(u64::MAX));
    }

    /// Takes the bar away.
    pub fn end(self) {
        self.0.finish_and_clear();
    }
}

/// An answer that is given again and again: drawn over the one before on a terminal, one after the other elsewhere.
#[derive(Default)]
pub struct Redrawn {
    /// Lines of the last one; `None` before the first.
    lines: Option<usize>,
}

impl Redrawn {
    /// Whether it is drawn over.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        Term::stdout().is_term()
    }

    /// Shows this now. Documents of YAML are parted as YAML parts them.
    ///
    /// # Errors
    /// It could not be written; a reader that went away ends the showing.
    pub fn show(&mut self, text: &str, yaml: bool) -> Result<(), Failure> {
        let terminal = Term::stdout();
        let shown = match (self.lines, terminal.is_term()) {
            (Some(lines), true) if lines < usize::from(terminal.size().0) => terminal.clear_last_lines(lines),
            (_, true) => terminal.clear_screen(),
            (Some(_), false) => terminal.write_line(if yaml { "---" } else { "" }),
            (None, false) => Ok(()),
        };
        let shown =
            shown.and_then(|()| write_answer(&mut io::stdout().lock(), &Answer::text(text), console::colors_enabled()));
        self.lines = Some(text.trim_end_matches('\n').lines().count());
        shown.map_err(|error| Failure::new(format!("the answer could not be written: {error}")))
    }
}

fn fail(failure: &Failure) -> ExitCode {
    let _ = write_failure(&mut io::stderr().lock(), failure);
    ExitCode::from(failure.code)
}

/// Writes an answer, with our own colours or without any.
fn write_answer(writer: &mut impl Write, answer: &Answer, colours: bool) -> io::Result<()> {
    let text = match answer.form {
        Form::File => Cow::Borrowed(answer.text.as_str()),
        Form::Lines => for_terminal(&answer.text, colours),
        Form::Commands => without_controls(&answer.text, colours),
    };
    writer.write_all(text.as_bytes())?;
    if answer.form != Form::File && !answer.text.is_empty() && !answer.text.ends_with('\n') {
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

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut buffer = Vec::new();
        write(&mut buffer).unwrap();
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_failure_is_an_error_with_its_reason_and_a_hint() {
        let failure = Failure::new("it is not known").reason(Reason::OperatorVersionUnknown).hint("look elsewhere");
        assert_eq!(
            written(|buffer| write_failure(buffer, &failure)),
            "error: it is not known (OperatorVersionUnknown)\nhint: look elsewhere\n"
        );
    }

    #[test]
    fn several_failures_are_told_one_by_one() {
        let failure = Failure::new("one").hint("").and(Failure::new("two").hint("help"));
        assert_eq!(written(|buffer| write_failure(buffer, &failure)), "error: one\nerror: two\nhint: help\n");
    }

    #[test]
    fn an_answer_ends_with_a_newline_and_an_empty_one_is_empty() {
        let written = |answer: &Answer| written(|buffer| write_answer(buffer, answer, false));
        assert_eq!(written(&Answer::text("a")), "a\n");
        assert_eq!(written(&Answer::lines(["a", "b"])), "a\nb\n");
        assert_eq!(written(&Answer::default()), "");
    }

    #[test]
    fn nothing_commands_a_terminal_or_a_ci_system() {
        let hostile = "a\u{1b}]0;title\u{7}\n::error::b\nc\u{9b}31m";
        let shown = "a?]0;title?\n: :error::b\nc?31m\n";
        for colours in [false, true] {
            assert_eq!(written(|buffer| write_answer(buffer, &Answer::text(hostile), colours)), shown);
        }
        let failure = Failure::new(hostile).hint(hostile);
        assert_eq!(written(|buffer| write_failure(buffer, &failure)), format!("error: {shown}hint: {shown}"));
        let failure = Failure::usage(hostile);
        assert_eq!(written(|buffer| write_failure(buffer, &failure)), shown);
        // An answer that is made of commands has those that it means.
        let commands = Answer::commands(["::error title=a::b%0Ac\u{1b}".to_owned()]);
        assert_eq!(written(|buffer| write_answer(buffer, &commands, true)), "::error title=a::b%0Ac?\n");
        // A file is somebody's own.
        assert_eq!(written(|buffer| write_answer(buffer, &Answer::exactly(hostile.to_owned()), false)), hostile);
    }
}
