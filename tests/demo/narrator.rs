//! Tells the story: chapters, what is typed, what is seen, and checks. The only writer to the terminal. Colour and a
//! spinner on a terminal only; the same text in a pipe.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use console::{Term, measure_text_width, style};
use indicatif::{ProgressBar, ProgressStyle};

use crate::testbox::patience::SOON;

/// No line is wider.
const WIDTH: usize = 96;
const INDENT: &str = "   ";

/// A promise that was not kept.
#[derive(Debug)]
pub struct Unkept {
    promise: String,
    expected: String,
    seen: String,
}

impl fmt::Display for Unkept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: expected {}, seen {}", self.promise, self.expected, self.seen)
    }
}

impl std::error::Error for Unkept {}

/// Tells one story.
pub struct Narrator {
    started: Instant,
    chapters: u32,
    kept: u32,
    terminal: bool,
}

impl Narrator {
    pub fn new() -> Self {
        Self { started: Instant::now(), chapters: 0, kept: 0, terminal: Term::stdout().is_term() }
    }

    pub fn title(&self, title: &str, text: &str) {
        println!("{}", style(title).bold());
        print_wrapped(text, "");
    }

    /// A numbered headline with the time since the start at its right end.
    pub fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        let (left, time) = (format!("{}. {title}", self.chapters), format!("[{}]", seconds(self.started.elapsed())));
        let gap = WIDTH.saturating_sub(measure_text_width(&left) + time.len()).max(1);
        println!("\n{}{}{}", style(left).bold().cyan(), " ".repeat(gap), style(time).dim());
    }

    /// What happens, in sentences.
    pub fn narrate(&self, text: &str) {
        print_wrapped(text, INDENT);
    }

    /// What a person would type.
    pub fn typed(&self, command: &str) {
        println!("{INDENT}{} {}", style("$").dim(), style(command).bold());
    }

    /// Lines that answer what was typed.
    pub fn shows(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("{INDENT}  {line}");
        }
    }

    /// Names and their values, which may be long.
    pub fn fields(&self, fields: &[(&str, &str)]) {
        let widest = fields.iter().map(|(name, _)| measure_text_width(name)).max().unwrap_or_default();
        for (name, value) in fields {
            for (index, line) in wrapped(value, WIDTH - 8 - widest).into_iter().enumerate() {
                let name = if index == 0 { *name } else { "" };
                println!("{INDENT}  {name:<widest$}   {line}");
            }
        }
    }

    /// Rows with their cells under each other.
    pub fn table(&self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let width_of = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        for row in rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let pad = width.saturating_sub(measure_text_width(cell));
                format!("{cell}{}", " ".repeat(pad))
            });
            println!("{INDENT}  {}", cells.collect::<Vec<_>>().join("   ").trim_end());
        }
    }

    /// A promise, checked: printed if it holds, else the end of the demo.
    pub fn check(&mut self, holds: bool, promise: &str, expected: &str, seen: &dyn fmt::Debug) -> Result<()> {
        if !holds {
            let (promise, expected) = (promise.to_owned(), expected.to_owned());
            return Err(Unkept { promise, expected, seen: format!("{seen:?}") }.into());
        }
        self.kept += 1;
        for (index, line) in wrapped(promise, WIDTH - 5).into_iter().enumerate() {
            let mark = if index == 0 { style("✓").green().to_string() } else { " ".to_owned() };
            println!("{INDENT}{mark} {line}");
        }
        Ok(())
    }

    /// The same where both sides can be compared.
    pub fn check_equal<T: PartialEq + fmt::Debug>(&mut self, promise: &str, expected: &T, seen: &T) -> Result<()> {
        self.check(expected == seen, promise, &format!("{expected:?}"), seen)
    }

    /// Waits for at most [`SOON`], with a spinner on a terminal.
    ///
    /// # Errors
    /// The work's own, or it took too long.
    pub async fn wait<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let spinner = if self.terminal && Term::stderr().is_term() {
            let shape = ProgressStyle::with_template("   {spinner} {msg} {elapsed}");
            let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
            spinner.enable_steady_tick(Duration::from_millis(80));
            shape.map(|shape| spinner.clone().with_style(shape)).unwrap_or(spinner)
        } else {
            ProgressBar::hidden()
        };
        let done = within(what, SOON, work).await;
        spinner.finish_and_clear();
        done
    }

    /// Why the story ends early, and what the controller said last.
    pub fn fails(&self, error: &anyhow::Error, last_words: &[String], logs: &[PathBuf]) {
        let cross = style("✗").red().bold();
        match error.downcast_ref::<Unkept>() {
            Some(unkept) => {
                println!("{INDENT}{cross} {}", unkept.promise);
                print_wrapped(&format!("expected: {}", unkept.expected), "     ");
                print_wrapped(&format!("seen:     {}", unkept.seen), "     ");
            }
            None => {
                println!("{INDENT}{cross} the demo could not go on");
                for line in format!("{error:#}").lines() {
                    print_wrapped(line, "     ");
                }
            }
        }
        for line in last_words {
            println!("     {line}");
        }
        for folder in logs {
            println!("     logs:     {}", shortened(folder));
        }
    }

    pub fn ends(&self) {
        let text = format!("Done in {}: {} checks, all kept.", seconds(self.started.elapsed()), self.kept);
        println!("\n{}", style(text).bold().green());
    }

    pub fn line(&self, text: &str) {
        println!("{text}");
    }
}

/// The work's end, or an error at the limit: nothing here waits for ever.
///
/// # Errors
/// The work's own, or it took longer than the limit.
pub async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => bail!("{what}: not done after {} s", limit.as_secs()),
    }
}

/// `0.31 s`
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s") }
}

/// Relative to where the demo was started, if it is below.
fn shortened(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

fn print_wrapped(text: &str, indent: &str) {
    for line in wrapped(text, WIDTH - indent.len()) {
        println!("{indent}{line}");
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map(String::as_str).unwrap_or_default();
        let needed = measure_text_width(line) + 1 + measure_text_width(word);
        if line.is_empty() || needed <= width {
            let joined = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            lines.pop();
            lines.push(joined);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
