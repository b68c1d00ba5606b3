//! The page for people who have the words of an operator or a runtime in front of them, made from the table that explains them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use imageset_controller::rules::explain::TABLE;

use super::{assert_current, text};

const HEAD: &str = "\
# What does this message mean?

<!-- Made from src/rules/explain/mod.rs by `UPDATE=1 cargo test --test docs`; don't edit. -->

Messages of operators in a TigeraStatus and of container runtimes, with cause and fix. The controller looks them up by itself: `kubectl imageset status`
shows the matching row with the names of your cluster, and the conditions `OperatorDegraded`, `ImagePullFailing` and `Adopted` have its reason
([all reasons](../reference/reasons.md)). `imageset-controller explain 'THE MESSAGE'` looks up a message that you paste.

Components and releases of the operator add different text before and after a message. The table quotes the part that is the same in all of them. Releases
up to v1.25 put the text into the condition's `reason`.

| You see | Cause | Fix | Reason |
|---|---|---|---|
";

#[test]
fn the_page_of_messages_says_what_the_code_says() {
    let mut page = HEAD.to_owned();
    for row in TABLE {
        writeln!(page, "| {} | {} | {} | `{}` |", row.seen, row.cause, row.fix, row.reason.as_str()).unwrap();
    }
    assert_current("docs/guide/messages.md", &page);
}

const PASTES_HEAD: &str = "\
# Paste what you see

<!-- Made from tests/cases/explain by `UPDATE=1 cargo test --test docs`; don't edit. -->

`imageset-controller explain -` reads what is on your screen, as it is: messages, tables and descriptions of kubectl, events, lines of
logs, objects in YAML or JSON, and several of them together. The worst is reported first. It sends no request. Exit code 0: understood, or
nothing is wrong; 1: nothing in it is known. [All messages](messages.md) are listed with their causes.

Ten texts and what it says about them:
";

/// A title and the file of `tests/cases/explain`.
const PASTES: [(&str, &str); 10] = [
    ("A line of TigeraStatus, operator v1.43", "operator-v1.43-pod"),
    ("The table of TigeraStatus", "status-table-message"),
    ("The same table without messages", "status-table-silent"),
    ("A description of TigeraStatus", "status-describe"),
    ("Pods", "pods-table"),
    ("A description of a pod", "pod-describe"),
    ("Events", "events-table"),
    ("The operator's log", "operator-json-log"),
    ("crictl on a node", "crictl-pull"),
    ("Several problems at once", "several"),
];

#[test]
fn the_page_of_pastes_says_what_the_command_says() {
    let mut page = PASTES_HEAD.to_owned();
    for (title, file) in PASTES {
        let case = text(&format!("tests/cases/explain/{file}.txt"));
        let (_, paste) = case.split_once("\n---\n").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_imageset-controller"));
        command.args(["explain", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(paste.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let lines = |text: &str| text.trim_end().lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        let said = lines(&String::from_utf8(output.stdout).unwrap());
        write!(page, "\n## {title}\n\n```text\n{}\n```\n\n```text\n{said}\n```\n", lines(paste)).unwrap();
    }
    assert_current("docs/guide/pasted.md", &page);
}
