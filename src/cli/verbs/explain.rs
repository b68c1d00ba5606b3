//! `explain`: what a message of the operator or of a pod means, and what helps, in the words of the status. Sends no request.

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::cli::flags::format::TextOrJson;
use crate::cli::inputs::files;
use crate::cli::output::serialized;
use crate::cli::output::{Failure, Output};
use crate::model::Reason;
use crate::rules::explain::paste::{self, Explanation, Problem};
use crate::rules::explain::{Row, TABLE};
use crate::yaml;

/// What cannot be written, in a failure.
const EXPLANATION: &str = "the answer";

/// Say what a message of the operator, a pod or a container runtime means, and what helps.
///
/// Paste the message in quotes, or what you have on standard input: objects in YAML or JSON, tables and descriptions of kubectl, events,
/// lines of logs, several problems together. The worst is reported first. Without a message, all that are known are listed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller explain
  imageset-controller explain 'ImageSets exist but none with the expected name calico-v3.32.1'
  kubectl get tigerastatus calico -o yaml | imageset-controller explain -
  kubectl get tigerastatus -o json | imageset-controller explain -
  kubectl -n calico-system describe pod calico-node-x7k2p | imageset-controller explain - -o json

Exit codes: 0 explained, listed, or not degraded; 1 nothing in it is known; 2 there is nothing to explain.")]
pub(in crate::cli) struct Arguments {
    /// The message; - is standard input
    #[arg(value_name = "MESSAGE")]
    message: Vec<String>,

    /// How to say it
    #[arg(short, long, value_enum, default_value_t)]
    output: TextOrJson,
}

/// A problem, as JSON has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained<'a> {
    /// The object with the message, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    reason: Reason,
    /// Names in the message that the row is about.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    names: &'a [String],
    cause: &'static str,
    next_step: &'static str,
    /// The command that shows more.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
}

impl<'a> Explained<'a> {
    const fn of_row(row: &Row) -> Self {
        Self { object: None, reason: row.reason, names: &[], cause: row.cause, next_step: row.fix, command: None }
    }

    fn of(problem: &'a Problem) -> Self {
        let Problem { object, row, names, command } = problem;
        Self { object: object.as_deref(), names, command: command.as_deref(), ..Self::of_row(row) }
    }
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    if arguments.message.is_empty() {
        let all: Vec<Explained<'_>> = TABLE.iter().map(Explained::of_row).collect();
        return match arguments.output {
            TextOrJson::Json => serialized::json(EXPLANATION, &all),
            TextOrJson::Text => Ok(Output::text(TABLE.iter().map(render_row).collect::<Vec<_>>().join("\n"))),
        };
    }
    let (message, empty) = match arguments.message.as_slice() {
        [only] if only == "-" => (files::read("-")?, "standard input is empty"),
        words => (words.join(" "), "the message is empty"),
    };
    if message.trim().is_empty() {
        return Err(no_message(empty));
    }
    // Text that is not YAML is read as kubectl and logs print it.
    let objects: Vec<Value> = yaml::documents(&message).unwrap_or_default();
    if let [list] = objects.as_slice()
        && list["items"].as_array().is_some_and(Vec::is_empty)
    {
        return Err(no_message("the list is empty"));
    }
    let explanation = paste::explain(&message, &objects);
    let output = render(&explanation, arguments.output)?;
    Ok(if explanation.is_understood() { output } else { output.drifted() })
}

/// The failure where there is nothing to explain.
fn no_message(why: &str) -> Failure {
    Failure::new(why)
        .hint("paste what TigeraStatus says: kubectl get tigerastatus -o yaml | imageset-controller explain -")
}

/// Returns the problems; without any, the objects that are as they should be.
fn render(explanation: &Explanation, output: TextOrJson) -> Result<Output, Failure> {
    let Explanation { problems, healthy } = explanation;
    match output {
        TextOrJson::Json => {
            serialized::json(EXPLANATION, &problems.iter().map(Explained::of).collect::<Vec<Explained<'_>>>())
        }
        TextOrJson::Text if problems.is_empty() => Ok(Output::lines(healthy.iter().cloned())),
        TextOrJson::Text => Ok(Output::text(problems.iter().map(render_problem).collect::<Vec<_>>().join("\n"))),
    }
}

fn render_problem(problem: &Problem) -> String {
    let Problem { object, row, names, command } = problem;
    let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    let object = object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    let command = command.as_ref().map(|command| format!("  run      {command}\n")).unwrap_or_default();
    format!("{object}{}{names}\n  because  {}\n  do       {}\n{command}", row.reason, row.cause, row.fix)
}

fn render_row(row: &Row) -> String {
    format!("{}\n  because  {}\n  do       {}\n  reason   {}\n", row.seen, row.cause, row.fix, row.reason)
}
