//! Commands in documents: each verb and each flag is one that the binary has, a value is one of those that the flag takes, and what is
//! typed in blocks is understood by the binary itself.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use super::{documents, shown};

const NAME: &str = "imageset-controller";
/// The same as a plugin of kubectl, and in the controller's pod.
const SAME: [&str; 2] =
    ["kubectl imageset ", "kubectl -n imageset-controller exec deploy/imageset-controller -- /imageset-controller "];

/// The commands of this product in a document's code, inline and in blocks, word by word.
fn commands(document: &str) -> Vec<Vec<String>> {
    let (inline, typed) = code(document);
    inline.iter().chain(&typed).flat_map(|line| line.split(" | ")).filter_map(command).collect()
}

/// Those in blocks alone: nothing in them stands for something else.
fn typed(document: &str) -> Vec<Vec<String>> {
    code(document).1.iter().flat_map(|line| line.split(" | ")).filter_map(command).collect()
}

/// The pieces of code within lines, and the lines of blocks that are typed.
fn code(document: &str) -> (Vec<String>, Vec<String>) {
    let joined = document.replace("\\\n", " ");
    let (mut inline, mut blocks) = (Vec::new(), Vec::new());
    let mut fence: Option<&str> = None;
    for line in joined.lines() {
        match (fence, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => fence = Some(language),
            (Some(_), Some(_)) => fence = None,
            (Some(language), None) if ["sh", "console"].contains(&language) => blocks.push(line.to_owned()),
            // What is printed can name commands, too.
            (Some(_), None) => inline.push(line.to_owned()),
            (None, None) => inline.extend(line.split('`').skip(1).step_by(2).map(str::to_owned)),
        }
    }
    (inline, blocks)
}

fn command(text: &str) -> Option<Vec<String>> {
    let text = text.trim_start().trim_start_matches("$ ");
    let rest = SAME.iter().find_map(|same| text.strip_prefix(same));
    let text = rest.map_or_else(|| text.to_owned(), |rest| format!("{NAME} {rest}"));
    let words = text.split_whitespace().take_while(|word| !matches!(*word, "|" | ">" | "&&" | ";" | "#"));
    let words: Vec<String> = words.map(str::to_owned).collect();
    (words.len() > 1 && words[0] == NAME).then_some(words)
}

/// What the binary says of a verb, or of a verb's verb; nothing if it has none of this name. The environment counts for nothing.
pub(super) fn help(verbs: &[String]) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imageset-controller"));
    let output = command.env_clear().args(verbs).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// A flag as its help describes it: its names, whether a value follows, and the values that it takes, if they are listed.
struct Flag {
    names: Vec<String>,
    takes_value: bool,
    values: Vec<String>,
}

fn flags(help: &str) -> Vec<Flag> {
    let mut flags: Vec<(Flag, String)> = Vec::new();
    for line in help.lines() {
        let start = line.trim_start();
        // Descriptions are further in, and may begin a line with a flag.
        if start.starts_with('-') && line.len() - start.len() < 10 {
            let usage = start.split("  ").next().unwrap_or_default();
            let names = usage.split([' ', ',']).filter(|word| word.starts_with('-')).map(str::to_owned).collect();
            flags.push((Flag { names, takes_value: usage.contains('<'), values: Vec::new() }, String::new()));
        } else if !line.is_empty() && !line.starts_with(' ') {
            // The next heading: what follows is nothing of this flag.
            flags.push((Flag { names: Vec::new(), takes_value: false, values: Vec::new() }, String::new()));
        } else if let Some((flag, text)) = flags.last_mut() {
            let listed = start.strip_prefix("- ").and_then(|item| item.split(':').next());
            flag.values.extend(listed.map(str::to_owned));
            text.push_str(start);
            text.push(' ');
        }
    }
    let values = |text: &str| -> Vec<String> {
        let list = text.split("[possible values: ").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_default();
        list.split(',').map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect()
    };
    let whole = flags.into_iter().map(|(mut flag, text)| {
        flag.values.extend(values(&text));
        flag
    });
    whole.filter(|flag| !flag.names.is_empty()).collect()
}

/// What is wrong with the value of a flag.
fn wrong_value(words: &[String], flags: &[Flag]) -> Option<String> {
    words.iter().enumerate().find_map(|(at, word)| {
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        let flag = flags.iter().find(|flag| flag.names.iter().any(|one| one == name))?;
        if !flag.takes_value {
            return None;
        }
        let Some(value) = value.or_else(|| words.get(at + 1).map(String::as_str)) else {
            return Some(format!("{name} without a value"));
        };
        // `-o wide|json` in prose is either of them.
        let unknown =
            value.split('|').find(|value| !flag.values.is_empty() && !flag.values.iter().any(|one| one == value));
        unknown.map(|value| format!("{name} {value}"))
    })
}

/// What is wrong with a command.
fn problem(words: &[String], helps: &mut BTreeMap<Vec<String>, Option<String>>) -> Option<String> {
    let length = if words[1] == "catalogue" { 2 } else { 1 };
    let verbs: Vec<String> = words[1..].iter().take(length).cloned().collect();
    let help = helps.entry(verbs.clone()).or_insert_with(|| help(&verbs));
    let Some(help) = help else { return Some(format!("there is no `{NAME} {}`", verbs.join(" "))) };
    let used = words.iter().filter(|word| word.starts_with('-') && word.len() > 1);
    let used = used.map(|word| word.split('=').next().unwrap_or_default());
    let known: Vec<&str> = help.split(|one: char| !(one.is_ascii_alphanumeric() || one == '-')).collect();
    let unknown: Vec<&str> = used.filter(|flag| !known.contains(flag)).collect();
    if !unknown.is_empty() {
        return Some(format!("`{NAME} {}` has no {}", verbs.join(" "), unknown.join(" ")));
    }
    wrong_value(words, &flags(help)).map(|value| format!("`{NAME} {}` does not take {value}", verbs.join(" ")))
}

#[test]
fn every_command_exists() {
    let mut helps = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (path, document) in documents() {
        for words in commands(&document) {
            checked += 1;
            wrong.extend(problem(&words, &mut helps).map(|problem| format!("{}: {problem}", shown(&path))));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 15, "only {checked} commands were found");
}

/// Why the binary does not even begin with what was typed; `None` where it begins. It finds no cluster, no registry and no file.
fn complaint(words: &[String]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_imageset-controller"));
    command.args(&words[1..]).current_dir(folder.path()).stdin(Stdio::null()).env_clear();
    let output = command.envs([("HOME", "/nowhere"), ("KUBECONFIG", "/nowhere"), ("ALL_PROXY", "http://127.0.0.1:1")]);
    let said = String::from_utf8(output.output().unwrap().stderr).unwrap();
    said.contains("For more information, try '--help'").then(|| said.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn what_is_typed_in_blocks_is_understood_word_by_word() {
    let typed: BTreeMap<Vec<String>, String> = documents()
        .into_iter()
        .flat_map(|(path, document)| typed(&document).into_iter().map(move |words| (words, shown(&path))))
        // It would listen, and never end if there were a cluster.
        .filter(|(words, _)| words[1] != "run")
        .collect();
    let wrong = typed.iter().filter_map(|(words, place)| Some(format!("{place}: {}", complaint(words)?)));
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<String>::new());
    assert!(typed.len() > 30, "only {} commands were found", typed.len());
}

#[test]
fn what_is_not_understood_is_found() {
    let document = "```sh\nimageset-controller generate 1.42 > x\nimageset-controller prepare v1.42.4 --timeout soon | cat\n\
        kubectl imageset prepare\nimageset-controller images v1.42.4\n```\n```text\nimageset-controller wobble\n```\n";
    let complaints: Vec<Option<String>> = typed(document).iter().map(|words| complaint(words)).collect();
    assert_eq!(complaints.len(), 4);
    assert_eq!(complaints.iter().filter(|complaint| complaint.is_some()).count(), 3, "{complaints:?}");
}

#[test]
fn commands_that_do_not_exist_are_found() {
    let document = "`imageset-controller images v1.42.4 --fips` and `imageset-controller wobble`\n\
        ```sh\nimageset-controller generate v1.42.4 \\\n  --registry=a.example --nonsense > x\n\
        kubectl imageset status -o wide\nkubectl imageset status -o broad\nimageset-controller generate --with Whisker\n\
        imageset-controller generate --with=Whisky\nimageset-controller plan --fips\n```\n\
        `imageset-controller status -o wide|json|xml`\n";
    let mut helps = BTreeMap::new();
    let wrong: Vec<String> = commands(document).iter().filter_map(|words| problem(words, &mut helps)).collect();
    let expected = [
        "there is no `imageset-controller wobble`",
        "`imageset-controller status` does not take -o xml",
        "`imageset-controller generate` has no --nonsense",
        "`imageset-controller status` does not take -o broad",
        "`imageset-controller generate` does not take --with Whisky",
        "`imageset-controller plan` does not take --fips without a value",
    ];
    assert_eq!(wrong, expected);
}
