//! The page for people who have the words of an operator or a runtime in front of them, made from the table that explains them.

use std::fmt::Write as _;

use imageset_controller::rules::explain::TABLE;

use super::assert_current;

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
