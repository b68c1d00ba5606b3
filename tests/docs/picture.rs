//! The picture of `status` in the README: the screen of a story of tests/scenarios, which that test compares with a real run,
//! drawn as a terminal shows it.

use std::fmt::Write as _;

use super::{assert_current, text};

const PICTURE: &str = "docs/status.svg";
const STORY: &str = "tests/scenarios/stories/status-screen.golden";

/// Columns of the terminal. A longer line goes on in the next one, as terminals have it.
const COLUMNS: usize = 138;
/// Pixels: width of a character, height of a line, and the space around the text.
const CHARACTER: f64 = 8.4;
const LINE: usize = 21;
const MARGIN: usize = 20;
/// Height of the title bar.
const BAR: usize = 34;

const COMMAND: &str = "kubectl imageset status";
/// Text that `status` colours on a terminal, with its class in the picture.
const COLOURS: [(&str, &str); 5] =
    [("adopted ✓", "good"), ("staged ✓", "good"), ("True", "good"), ("False", "bad"), ("TagMoved", "warn")];

const HEAD: &str = "\
  <title>The screen of imageset-controller status</title>
  <style>
    text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #d6dbe4; white-space: pre }
    .title { fill: #8a93a5 }
    .label { font-weight: bold; fill: #ffffff }
    .prompt { fill: #8a93a5 }
    .good { fill: #7fd88f }
    .warn { fill: #f0c674 }
    .bad { fill: #f2777a }
  </style>
";

/// What `status` prints in the story.
fn screen() -> Vec<String> {
    let golden = text(STORY);
    let (_, screen) = golden.split_once("\nscreen:\n").unwrap();
    screen.lines().map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned()).collect()
}

/// The lines of a terminal of this width.
fn wrapped(lines: &[String]) -> Vec<String> {
    let wrap = |line: &String| -> Vec<String> {
        let characters: Vec<char> = line.chars().collect();
        characters.chunks(COLUMNS).map(|part| part.iter().collect()).collect()
    };
    lines.iter().flat_map(wrap).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn span(class: &str, text: &str) -> String {
    format!("<tspan class=\"{class}\">{}</tspan>", escaped(text))
}

/// A line with its label in bold and the first coloured text of it in its colour.
fn drawn(line: &str) -> String {
    let label = line.find(' ').filter(|end| *end > 0 && line[..*end].chars().all(|one| one.is_ascii_uppercase()));
    let (label, rest) = line.split_at(label.unwrap_or(0));
    let coloured = COLOURS.iter().find_map(|(words, class)| Some((rest.find(words)?, *words, *class)));
    let rest = match coloured {
        Some((at, words, class)) => escaped(&rest[..at]) + &span(class, words) + &escaped(&rest[at + words.len()..]),
        None => escaped(rest),
    };
    if label.is_empty() { rest } else { span("label", label) + &rest }
}

fn picture(lines: &[String]) -> String {
    let lines = wrapped(lines);
    #[allow(clippy::cast_precision_loss)]
    let width = (CHARACTER * COLUMNS as f64).round() + 2.0 * MARGIN as f64;
    let height = BAR + LINE * (lines.len() + 1) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n"
    );
    svg.push_str("  <!-- Made by `UPDATE=1 cargo test --test docs` from a story of tests/scenarios; don't edit. -->\n");
    svg.push_str(HEAD);
    writeln!(svg, "  <rect width=\"{width}\" height=\"{height}\" rx=\"10\" fill=\"#1b1f27\"/>").unwrap();
    for (index, colour) in ["#f2777a", "#f0c674", "#7fd88f"].iter().enumerate() {
        writeln!(svg, "  <circle cx=\"{}\" cy=\"18\" r=\"6\" fill=\"{colour}\"/>", 22 + 20 * index).unwrap();
    }
    let prompt = span("prompt", "$ ") + COMMAND;
    for (index, line) in std::iter::once(prompt).chain(lines.iter().map(|line| drawn(line))).enumerate() {
        let y = BAR + LINE * (index + 1) - 5;
        writeln!(svg, "  <text x=\"{MARGIN}\" y=\"{y}\" xml:space=\"preserve\">{line}</text>").unwrap();
    }
    svg + "</svg>\n"
}

#[test]
fn the_picture_is_the_screen_of_the_story() {
    let screen = screen();
    assert!(screen.iter().any(|line| line.contains("adopted ✓")), "{screen:?}");
    assert!(text("README.md").contains(PICTURE), "README.md does not show {PICTURE}");
    assert_current(PICTURE, &picture(&screen));
}

#[test]
fn lines_are_coloured_wrapped_and_escaped() {
    assert_eq!(
        drawn("RUNNING    a <b>   adopted ✓"),
        "<tspan class=\"label\">RUNNING</tspan>    a &lt;b&gt;   <tspan class=\"good\">adopted ✓</tspan>"
    );
    assert_eq!(drawn("           → next"), "           → next");
    assert_eq!(wrapped(&["é".repeat(COLUMNS + 1)]), ["é".repeat(COLUMNS), "é".to_owned()]);
}
