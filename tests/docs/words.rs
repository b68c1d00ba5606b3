//! Pages for users are written in the field's terms: words of the glossary's right column do not get in again.

use super::links::prose;
use super::{documents, shown};

/// A word or phrase, and what to write instead.
const BANNED: [(&str, &str); 22] = [
    ("told", "reported, shown"),
    ("tells", "reports, shows"),
    ("asked", "requested, inspected, looked up"),
    ("insist on", "require"),
    ("insists on", "requires"),
    ("somebody else", "another writer; unmanaged"),
    ("of ours", "managed"),
    ("ours", "managed"),
    ("anew", "again; rebuilt, recreated"),
    ("without a word", "silently"),
    ("put back", "restored"),
    ("taken away", "removed"),
    ("take-over", "rollout of the new operator"),
    ("roll-out", "rollout"),
    ("roll-outs", "rollouts"),
    ("mend", "fix, repair"),
    ("mends", "fixes, repairs"),
    ("mended", "fixed, repaired"),
    ("made for another", "of another"),
    ("goes by", "uses"),
    ("comes to an end", "ends"),
    ("a look", "a read, a check"),
];

/// Made from code, or printed by a program: those are worded there.
fn is_generated(name: &str) -> bool {
    name.starts_with("docs/reference/") || ["docs/guide/messages.md", "docs/demo.md"].contains(&name)
}

fn is_for_users(name: &str) -> bool {
    let below = name.strip_prefix("docs/").unwrap_or_default();
    (["README.md", "SECURITY.md"].contains(&name) || !below.is_empty() && !below.starts_with("adr/"))
        && !is_generated(name)
}

/// The banned words in the prose of a document, each once.
fn found(document: &str) -> Vec<String> {
    let words = prose(document).to_lowercase();
    let words: Vec<&str> = words.split(|one: char| !(one.is_alphanumeric() || one == '-')).collect();
    let words = format!(" {} ", words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    let banned = BANNED.iter().filter(|(word, _)| words.contains(&format!(" {word} ")));
    banned.map(|(word, instead)| format!("{word:?} (write: {instead})")).collect()
}

#[test]
fn pages_for_users_have_no_private_vocabulary() {
    let mut wrong = Vec::new();
    let mut pages = 0;
    for (path, document) in documents().into_iter().filter(|(path, _)| is_for_users(&shown(path))) {
        pages += 1;
        wrong.extend(found(&document).into_iter().map(|word| format!("{}: {word}", shown(&path))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(pages > 40, "only {pages} pages were read");
}

#[test]
fn banned_words_are_found_in_prose_only() {
    let document = "It is told of a\nroll-out. `somebody else`\n```text\nmade anew\n```\nThe fold is\ncalled ours.";
    let expected = ["\"told\" (write: reported, shown)", "\"ours\" (write: managed)", "\"roll-out\" (write: rollout)"];
    assert_eq!(found(document), expected);
}
