//! The reference pages, made from the closed lists of the code.

use std::fmt::Write as _;

use imageset_controller::model::{ConditionType, Reason, Severity};

use super::assert_current;

const MADE: &str = "<!-- Made from src/model/reason.rs by `UPDATE=1 cargo test --test docs`; don't edit. -->";

const REASONS: &str = "\
Reasons are one closed list. Conditions, findings and events of an ImageSetPolicy use them, and so do the label `reason` of the metric
`imageset_controller_findings` and the errors of the command line. Each reason belongs to one of the [conditions](conditions.md). `Ready` can have a
reason of any table: if it is False, it has the reason of the problem.

A finding says what happened to which object. The next step is in this table, in the finding's `nextStep`, and at the end of the condition's message.
";

const CONDITIONS: &str = "\
The conditions of an ImageSetPolicy, in `status.conditions`. Each answers one question. `kubectl describe imagesetpolicy default` shows them with their
reasons; [reasons](reasons.md) explains each one.
";

const RULES: &str = "\
- `Ready` covers what the controller can do by itself. In mode Apply it is True when the set of the target version is stored, and every version of
  `prepare.versions` is stored, or ready and waiting for its operator. In mode Observe it is True when the plan for them is computed (reason
  `PlanComputed`). `Adopted`, `Drifted` and `OperatorDegraded` never change it, so that a pipeline that waits for `Ready` waits for the right thing.
- `Ready`, `Reconciling` and `Stalled` summarise the others with the meaning that kstatus defines, so that Flux and other tools that use kstatus need no
  rules for this kind.
- Unknown means that the question cannot be answered; the reason says what is missing.
- `lastTransitionTime` changes with the status, not with the reason or the message. `observedGeneration` is the generation of the policy that the
  condition refers to; `kubectl wait` honours it.
";

fn reasons() -> String {
    let mut page = format!("# Reasons\n\n{MADE}\n\n{REASONS}\n## Severities\n\n| Severity | Meaning |\n|---|---|\n");
    for severity in Severity::ALL {
        writeln!(page, "| {severity} | {} |", severity.meaning()).unwrap();
    }
    for condition in ConditionType::ALL {
        let question = cell(condition.question());
        write!(page, "\n## {condition}\n\n{question}\n\n").unwrap();
        page.push_str("| Reason | Severity | Meaning | Next step |\n|---|---|---|---|\n");
        for reason in Reason::ALL.iter().filter(|reason| reason.condition() == condition) {
            let (meaning, next) = (cell(reason.meaning()), cell(reason.next_step()));
            writeln!(page, "| `{reason}` | {} | {meaning} | {next} |", reason.severity()).unwrap();
        }
    }
    page
}

fn conditions() -> String {
    let mut page = format!("# Conditions\n\n{MADE}\n\n{CONDITIONS}\n");
    page.push_str("| Condition | Question | Good when | kstatus | Reasons |\n|---|---|---|---|---|\n");
    for condition in ConditionType::ALL {
        let well = if condition.is_abnormal_true() { "False" } else { "True" };
        let kstatus = if condition.is_kstatus() { "yes" } else { "" };
        let anchor = condition.as_str().to_lowercase();
        let question = cell(condition.question());
        writeln!(page, "| `{condition}` | {question} | {well} | {kstatus} | [reasons](reasons.md#{anchor}) |").unwrap();
    }
    page + "\n## How to read them\n\n" + RULES
}

/// A text in a cell of a table.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[test]
fn pages_say_what_the_code_says() {
    for (file, page) in [("reasons.md", reasons()), ("conditions.md", conditions())] {
        assert_current(&format!("docs/reference/{file}"), &page);
    }
}

#[test]
fn every_reason_is_in_one_table() {
    let page = reasons();
    for reason in Reason::ALL {
        assert_eq!(page.matches(&format!("\n| `{reason}` |")).count(), 1, "{reason}");
    }
}
