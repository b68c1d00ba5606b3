//! The candidates for the last word of a command line.

use std::sync::OnceLock;

use clap::{Arg, Command};

use crate::catalogue::{Catalogue, names};

/// Returns the candidates for the last of the words, which may be empty. `namespaces` is called where namespaces are candidates.
pub(super) fn of(command: &Command, words: &[String], namespaces: impl Fn() -> Vec<String>) -> Vec<String> {
    let Some((last, before)) = words.split_last() else { return Vec::new() };
    let (mut verb, mut flag, mut positionals) = (command, None, 0);
    for word in before {
        match (flag.take(), word.strip_prefix('-')) {
            (Some(_), _) => {}
            (None, Some(_)) => {
                flag = find_flag(verb, word).filter(|arg| arg.get_action().takes_values() && !word.contains('='))
            }
            (None, None) => match verb.find_subcommand(word) {
                Some(found) => verb = found,
                None => positionals += 1,
            },
        }
    }
    let values = |arg: &Arg| match arg.get_id() == "namespace" {
        true => namespaces(),
        false => listed(arg),
    };
    let all: Vec<String> = match (flag, last.split_once('=')) {
        (Some(flag), _) => values(flag),
        (None, Some((name, _))) if last.starts_with("--") => {
            let values = find_flag(verb, name).map(values).unwrap_or_default();
            values.into_iter().map(|value| format!("{name}={value}")).collect()
        }
        (None, _) if last.starts_with('-') => {
            let flags = verb.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long);
            flags.map(|name| format!("--{name}")).chain(["--help".to_owned()]).collect()
        }
        (None, _) => {
            let verbs =
                verb.get_subcommands().filter(|verb| !verb.is_hide_set()).map(|verb| verb.get_name().to_owned());
            let positional = verb.get_positionals().nth(positionals).or(verb.get_positionals().last());
            verbs.chain(positional.map(values).unwrap_or_default()).collect()
        }
    };
    all.into_iter().filter(|candidate| candidate.starts_with(last.as_str())).collect()
}

/// Returns the flag of a verb, by `--name`, `--name=value` or `-n`.
fn find_flag<'a>(verb: &'a Command, word: &str) -> Option<&'a Arg> {
    let name = word.split('=').next().unwrap_or_default();
    let is_it = |arg: &&Arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => name.strip_prefix('-').is_some_and(|short| short.chars().next() == arg.get_short()),
    };
    verb.get_arguments().find(is_it)
}

/// Returns the values of an argument that are known without a cluster.
fn listed(arg: &Arg) -> Vec<String> {
    let own: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    match own.is_empty() || !arg.get_action().takes_values() {
        true => words(arg).into_iter().map(str::to_owned).collect(),
        false => own,
    }
}

/// Returns the values that an argument does not list itself: versions, the newest first, or names of images.
pub(super) fn words(arg: &Arg) -> Vec<&'static str> {
    static VERSIONS: OnceLock<Vec<String>> = OnceLock::new();
    let name = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str()).unwrap_or_default();
    match (name, arg.get_id().as_str()) {
        ("VERSION", _) => {
            let all = || Catalogue::embedded().releases().rev().map(|release| release.to_string()).collect();
            VERSIONS.get_or_init(all).iter().map(String::as_str).collect()
        }
        (_, "exclude") => names::known().iter().map(|name| name.as_str()).collect(),
        _ => Vec::new(),
    }
}
