//! Flags that kubectl takes before the verb, too.

use std::ffi::OsString;

use clap::Command;

/// The flags of kubectl about the cluster, all of which take a value.
const FLAGS: [&str; 7] = ["--kubeconfig", "--context", "--namespace", "-n", "--as", "--as-group", "--request-timeout"];

/// Returns the command line with such flags behind the verb. A verb that asks no cluster gets none.
pub(in crate::cli) fn behind_verb(command: &Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut rest = arguments.into_iter();
    let mut line: Vec<OsString> = rest.next().into_iter().collect();
    let mut flags = Vec::new();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy().into_owned();
        let name = text.split('=').next().unwrap_or_default();
        if FLAGS.contains(&name) {
            let value = if text.contains('=') { None } else { rest.next() };
            flags.push((name.trim_start_matches('-').to_owned(), [Some(word), value]));
            continue;
        }
        line.push(word);
        let verb = command.find_subcommand(&text);
        let takes = |name: &str| {
            let mut all = verb.into_iter().flat_map(Command::get_arguments);
            all.any(|arg| arg.get_long() == Some(name) || arg.get_short().is_some_and(|short| name.chars().eq([short])))
        };
        line.extend(flags.iter().filter(|(name, _)| takes(name)).flat_map(|(_, words)| words.clone()).flatten());
        break;
    }
    line.extend(rest);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_kubectl_are_taken_before_the_verb() {
        let arguments = |id: &'static str, short| clap::Arg::new(id).long(id).short(short);
        let status = Command::new("status").arg(arguments("context", 'c')).arg(arguments("namespace", 'n'));
        let command = Command::new("x").subcommand(status).subcommand(Command::new("explain"));
        let line = |words: &str| {
            let moved = behind_verb(&command, words.split(' ').map(OsString::from).collect());
            moved.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("x --context a status --watch"), "x status --context a --watch");
        assert_eq!(line("x -n b --context=a status"), "x status -n b --context=a");
        assert_eq!(line("x --context a explain words"), "x explain words");
        assert_eq!(line("x status --context a"), "x status --context a");
        assert_eq!(line("x --version"), "x --version");
    }
}
