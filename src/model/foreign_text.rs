//! Text from outside: nodes, kubelets, registries, operators, other controllers, and errors of the API server. This module is the
//! one place that escapes and cuts it: when it is decoded, when it becomes part of a message, and before a terminal or a log
//! shows it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// Maximum length of a quoted foreign message inside another message, in bytes.
pub const LONGEST_QUOTE: usize = 240;

/// Maximum length of a name, image reference or other single value, in bytes. Every valid image reference is shorter.
pub const LONGEST_NAME: usize = 1024;

/// Maximum length of a decoded message, in bytes.
pub const LONGEST_MESSAGE: usize = 4096;

/// Maximum number of items of a decoded list, such as the entries of an ImageSet or the containers of a pod.
pub const LONGEST_LIST: usize = 512;

/// Marks a text that was cut.
const CUT: &str = "...";

/// Marks a name that was cut, and makes it invalid: no image reference, image name, digest or version contains a space.
const NAME_CUT: &str = " ...";

/// Commands that CI systems recognise anywhere in a line (GitHub Actions and Azure Pipelines), each with its harmless form.
const COMMANDS: [(&str, &str); 2] = [("##[", "## ["), ("##vso[", "## vso[")];

/// Colours and styles that the CLI and the log use, as parameters of the escape sequence `ESC [ … m`.
const STYLES: [&str; 9] = ["0", "1", "2", "3", "31", "32", "33", "34", "35"];

/// Returns a quote for logs, conditions and terminals: printable ASCII on one line, everything else escaped, cut to
/// [`LONGEST_QUOTE`].
#[must_use]
pub fn escaped(text: &str) -> String {
    escaped_to(text, LONGEST_QUOTE)
}

/// Returns the same, cut to `most` bytes.
#[must_use]
pub fn escaped_to(text: &str, most: usize) -> String {
    safe(&no_command(text, most), most, |character| matches!(character, ' '..='~'), CUT)
}

/// Returns a name as it is decoded: printable ASCII, cut to [`LONGEST_NAME`]. What was changed can't be mistaken for a
/// valid image, digest or version.
#[must_use]
pub fn name(text: &str) -> String {
    safe(text, LONGEST_NAME, |character| matches!(character, ' '..='~'), NAME_CUT)
}

/// Returns a message as it is decoded: all of its characters, cut to [`LONGEST_MESSAGE`].
#[must_use]
pub fn message(text: &str) -> String {
    safe(text, LONGEST_MESSAGE, |_| true, CUT)
}

/// Returns the beginning of a text, unescaped: for errors that show it with its control characters escaped.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Returns a finished line with foreign parts in it, cut to `most` bytes: without line ends and other characters that change
/// how a line is shown, and without commands to a CI system.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
    safe(&no_command(text, most), most, |character| !is_unsafe(character), CUT)
}

/// Returns a text of several lines as a terminal or a CI log may show it. Line ends, tabs and, with `colours`, the styles of the
/// CLI are kept. Every other control character becomes a question mark, which is valid in text, JSON and YAML.
#[must_use]
pub fn for_terminal(text: &str, colours: bool) -> Cow<'_, str> {
    let shown = without_controls(text, colours);
    let is_command = |line: &str| line.trim_start().starts_with("::");
    let has_command = COMMANDS.iter().any(|(command, _)| shown.contains(command)) || shown.lines().any(is_command);
    if !has_command {
        return shown;
    }
    let lines = shown.split_inclusive('\n').map(|line| without_commands(line.to_owned()));
    Cow::Owned(lines.collect())
}

/// Returns the same, but keeps commands to a CI system: for output that consists of them.
#[must_use]
pub fn without_controls(text: &str, colours: bool) -> Cow<'_, str> {
    let is_plain = |character: char| matches!(character, '\n' | '\t') || !is_unsafe(character);
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let style = if colours { style(rest) } else { None };
        let (length, kept) = match style {
            Some(style) => (style.len(), style),
            None if is_plain(character) => (character.len_utf8(), &rest[..character.len_utf8()]),
            None => (character.len_utf8(), "?"),
        };
        shown.push_str(kept);
        rest = &rest[length..];
    }
    Cow::Owned(shown)
}

/// Returns the CLI's own style at the beginning of `text`, if there is one.
fn style(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let length =
        STYLES.iter().find(|style| parameters.strip_prefix(**style).is_some_and(|end| end.starts_with('m')))?;
    text.get(.."\u{1b}[".len() + length.len() + "m".len())
}

/// Whether a character changes how a line is shown: control characters, line and paragraph separators, directions of writing, and
/// characters without width.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn safe(text: &str, most: usize, is_shown: impl Fn(char) -> bool, cut: &str) -> String {
    let mut safe = String::new();
    // The length up to which the mark fits, so that a text that was cut once is not cut again.
    let mut fits = 0;
    for character in text.chars() {
        if safe.len() + cut.len() <= most {
            fits = safe.len();
        }
        if is_shown(character) {
            safe.push(character);
        } else {
            safe.extend(character.escape_default());
        }
        if safe.len() > most {
            safe.truncate(fits);
            safe.push_str(cut);
            break;
        }
    }
    safe
}

/// Returns the beginning of a text, a little more than `most` bytes can show, without commands to a CI system.
fn no_command(text: &str, most: usize) -> String {
    without_commands(cut(text, most + 1))
}

/// Returns the line with every command to a CI system made harmless.
fn without_commands(line: String) -> String {
    let mut line = line;
    for (command, shown) in COMMANDS {
        if line.contains(command) {
            line = line.replace(command, shown);
        }
    }
    let start = line.len() - line.trim_start().len();
    if line[start..].starts_with("::") {
        line.insert(start + 1, ' ');
    }
    line
}

/// A text that is bounded by [`name`] or [`message`] while it is decoded.
struct Bounded<const IS_NAME: bool>(String);

impl<'de, const IS_NAME: bool> Deserialize<'de> for Bounded<IS_NAME> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<const IS_NAME: bool>;
        impl<const IS_NAME: bool> Visitor<'_> for Text<IS_NAME> {
            type Value = Bounded<IS_NAME>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Bounded(if IS_NAME { name(text) } else { message(text) }))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Decodes a text by [`name`], for `deserialize_with`; null is an empty text.
///
/// # Errors
/// The value is not a text.
pub fn decode_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(decode_optional_name(deserializer)?.unwrap_or_default())
}

/// Decodes an optional text by [`name`], for `deserialize_with`.
///
/// # Errors
/// The value is not a text.
pub fn decode_optional_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Bounded<true>>::deserialize(deserializer)?.map(|name| name.0))
}

/// Decodes a text by [`message`], for `deserialize_with`; null is an empty text.
///
/// # Errors
/// The value is not a text.
pub fn decode_message<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(decode_optional_message(deserializer)?.unwrap_or_default())
}

/// Decodes an optional text by [`message`], for `deserialize_with`.
///
/// # Errors
/// The value is not a text.
pub fn decode_optional_message<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Bounded<false>>::deserialize(deserializer)?.map(|message| message.0))
}

/// The first [`LONGEST_LIST`] items of a list. The others are dropped.
struct First<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = First<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < LONGEST_LIST {
                    match items.next_element()? {
                        Some(item) => kept.push(item),
                        None => return Ok(First(kept)),
                    }
                }
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(kept))
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Decodes the first [`LONGEST_LIST`] items of a list, for `deserialize_with`; null is an empty list.
///
/// # Errors
/// The value is not a list, or an item that is kept cannot be decoded.
pub fn decode_list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(decode_optional_list(deserializer)?.unwrap_or_default())
}

/// Decodes an optional list in the same way, for `deserialize_with`.
///
/// # Errors
/// As [`decode_list`].
pub fn decode_optional_list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    Ok(Option::<First<T>>::deserialize(deserializer)?.map(|first| first.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Decoded {
        #[serde(default, deserialize_with = "decode_name")]
        name: String,
        #[serde(default, deserialize_with = "decode_optional_message")]
        message: Option<String>,
        #[serde(default, deserialize_with = "decode_list")]
        list: Vec<u32>,
    }

    #[test]
    fn a_quote_is_printable_ascii_and_cut() {
        assert_eq!(escaped("a\n\u{1b}[31m\u{202e}b"), "a\\n\\u{1b}[31m\\u{202e}b");
        let cut = escaped(&"é".repeat(10_000));
        assert!(cut.len() <= LONGEST_QUOTE && cut.ends_with(CUT));
    }

    #[test]
    fn a_name_that_was_cut_is_invalid() {
        let digest = "5".repeat(64);
        let image = format!("quay.io/{}:v1@sha256:{digest}", "a/".repeat(600));
        assert!(name(&image).len() <= LONGEST_NAME);
        for odd in [image.as_str(), "quay.io/a\u{200b}b:v1", "quay.io/a:v1\n", "quay.io/á:v1"] {
            assert!(name(odd).parse::<crate::model::reference::Reference>().is_err(), "{:?}", name(odd));
            assert!(name(odd).parse::<crate::model::image_name::ImageName>().is_err(), "{:?}", name(odd));
        }
        let valid = format!("quay.io/tigera/operator:v1.42.4@sha256:{digest}");
        assert_eq!(name(&valid), valid);
    }

    #[test]
    fn a_line_stays_one_line_and_is_no_command() {
        assert_eq!(line("a → b\r\nc\u{9b}31m", 100), "a → b\\r\\nc\\u{9b}31m");
        assert_eq!(line("  ::error::x", 100), "  : :error::x");
        assert_eq!(line("a ##[error]b ##vso[task]c", 100), "a ## [error]b ## vso[task]c");
        assert_eq!(line(&"é".repeat(100), 9), "ééé...");
        for length in 1..40 {
            let once = line(&"  ::##[a\u{1b}é".repeat(length), 40);
            assert_eq!((line(&once, 40), once.len() <= 40), (once.clone(), true));
        }
    }

    #[test]
    fn a_terminal_gets_lines_tabs_and_known_styles_only() {
        let plain = "a\tb → c\nok\n";
        assert!(matches!(for_terminal(plain, false), Cow::Borrowed(text) if text == plain));
        let text = "\u{1b}[33mwarn\u{1b}[0m \u{1b}[8mhidden\u{1b}]0;title\u{7}\r\u{202e}x\n::error::y\n\t::debug::z\n";
        let shown = "\u{1b}[33mwarn\u{1b}[0m ?[8mhidden?]0;title???x\n: :error::y\n\t: :debug::z\n";
        assert_eq!(for_terminal(text, true), shown);
        assert_eq!(for_terminal(text, false), shown.replace('\u{1b}', "?"));
        assert_eq!(for_terminal("{\"a\": \"##[x]\"}", false), "{\"a\": \"## [x]\"}");
        assert_eq!(for_terminal("\u{1b}[", true), "?[");
    }

    #[test]
    fn decoded_text_is_bounded_and_null_is_empty() {
        let json = serde_json::json!({ "name": "a\u{1b}b", "message": "é".repeat(5000), "list": vec![1; 2000] });
        let decoded: Decoded = serde_json::from_value(json).unwrap();
        assert_eq!((decoded.name.as_str(), decoded.list.len()), ("a\\u{1b}b", LONGEST_LIST));
        assert!(decoded.message.unwrap().len() <= LONGEST_MESSAGE);
        let nothing: Decoded = serde_json::from_str(r#"{"name": null, "message": null, "list": null}"#).unwrap();
        assert_eq!(nothing, Decoded { name: String::new(), message: None, list: Vec::new() });
        assert_eq!(crate::yaml::from_str::<Decoded>("list: [1, 2]").unwrap().list, [1, 2]);
        assert!(serde_json::from_str::<Decoded>(r#"{"list": 7}"#).is_err());
    }
}
