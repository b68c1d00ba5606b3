//! Commands in documents: each verb and each flag is one that the binary has.

use std::collections::BTreeMap;
use std::process::Command;

use super::{documents, shown};

const NAME: &str = "imageset-controller";

/// The commands of this product in a document's code, inline and in blocks, word by word.
fn commands(document: &str) -> Vec<Vec<String>> {
    let joined = document.replace("\\\n", " ");
    let mut fenced = false;
    let mut code: Vec<&str> = Vec::new();
    for line in joined.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            code.push(line);
        } else {
            code.extend(line.split('`').skip(1).step_by(2));
        }
    }
    let command = |text: &str| -> Option<Vec<String>> {
        let text = text.trim_start().trim_start_matches("$ ");
        let words = text.split_whitespace().take_while(|word| !matches!(*word, "|" | ">" | "&&" | ";" | "#"));
        let words: Vec<String> = words.map(str::to_owned).collect();
        (words.len() > 1 && words[0] == NAME).then_some(words)
    };
    code.into_iter().flat_map(|line| line.split(" | ")).filter_map(command).collect()
}

/// What the binary says of a verb, or of a verb's verb; nothing if it has none of this name.
fn help(verbs: &[String]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_imageset-controller")).args(verbs).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// What is wrong with a command.
fn trouble(words: &[String], helps: &mut BTreeMap<Vec<String>, Option<String>>) -> Option<String> {
    let length = if words[1] == "catalogue" { 2 } else { 1 };
    let verbs: Vec<String> = words[1..].iter().take(length).cloned().collect();
    let help = helps.entry(verbs.clone()).or_insert_with(|| help(&verbs));
    let Some(help) = help else { return Some(format!("there is no `{NAME} {}`", verbs.join(" "))) };
    let flags = words.iter().filter(|word| word.starts_with('-') && word.len() > 1);
    let flags = flags.map(|word| word.split('=').next().unwrap_or_default());
    let known: Vec<&str> = help.split(|one: char| !(one.is_ascii_alphanumeric() || one == '-')).collect();
    let unknown: Vec<&str> = flags.filter(|flag| !known.contains(flag)).collect();
    (!unknown.is_empty()).then(|| format!("`{NAME} {}` has no {}", verbs.join(" "), unknown.join(" ")))
}

#[test]
fn every_command_exists() {
    let mut helps = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (path, document) in documents() {
        for words in commands(&document) {
            checked += 1;
            wrong.extend(trouble(&words, &mut helps).map(|trouble| format!("{}: {trouble}", shown(&path))));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 15, "only {checked} commands were found");
}

#[test]
fn commands_that_do_not_exist_are_found() {
    let document = "`imageset-controller images v1.42.4 --fips` and `imageset-controller wobble`\n\
        ```sh\nimageset-controller generate v1.42.4 \\\n  --registry=a.example --nonsense > x\n```\n";
    let mut helps = BTreeMap::new();
    let wrong: Vec<String> = commands(document).iter().filter_map(|words| trouble(words, &mut helps)).collect();
    assert_eq!(wrong, ["there is no `imageset-controller wobble`", "`imageset-controller generate` has no --nonsense"]);
}
