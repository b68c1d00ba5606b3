//! The page for people who have the words of an operator or a runtime in front of them, made from the table that explains them.

use std::fmt::Write as _;

use imageset_controller::rules::explain::TABLE;

use super::assert_current;

const HEAD: &str = "\
# What does this message mean?

<!-- Made from src/rules/explain/mod.rs by `UPDATE=1 cargo test --test docs`; don't edit. -->

What operators say in a TigeraStatus, and runtimes of pods, with the cause and what helps. The controller does this look-up by itself:
`kubectl imageset status` shows the line with the names of your cluster in it, and the same stands in the conditions
`OperatorDegraded`, `ImagePullFailing` and `Adopted` under the reason that each row has ([all reasons](../reference/reasons.md)).

The same cause comes with other words around it from other parts and releases of the operator; what is quoted here is the middle that
stays. Releases up to v1.25 put the text into the condition's `reason`.

| You see | Because | What helps | Reason |
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
