//! Redacts secrets in untrusted text. Pure and bounded. Only the second line of defence: a secret in another spelling (hexadecimal,
//! reversed, spaced) cannot be found, which is why `session` quotes nothing but statuses and error codes of a registry that received
//! credentials.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::registry::auth::credentials::Secret;

/// Replaces a secret.
pub(crate) const MARK: &str = "[redacted]";
/// Maximum length of a text, before and after, in bytes. Messages show less of it
/// ([`crate::model::foreign_text::LONGEST_QUOTE`]).
pub(crate) const MAX_TEXT: usize = 1024;
/// Minimum length of a secret that is searched for, in bytes. Shorter ones occur in any text by chance: redacting them would reveal
/// where, and hide the message.
const MIN_SECRET: usize = 4;

/// Returns the beginning of `text`, at most [`MAX_TEXT`] bytes, with a mark in the place of every secret: as it is, form-encoded, and
/// as `Debug` quotes it (messages quote headers so). Letter case is ignored, because media types and hosts are lowercased before
/// they are quoted. All secrets are searched in the original text; overlapping ones share a mark. Redacting twice changes nothing.
pub(crate) fn redacted<'a>(text: &str, secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    let kept = cut(text, MAX_TEXT);
    let is_cut = kept.len() < text.len();
    // Lowercasing ASCII letters moves no byte, so positions are the same in both.
    let lowercase = kept.to_ascii_lowercase();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for secret in secrets {
        for form in forms(secret) {
            find(kept, &lowercase, &form, &mut ranges);
            ranges.extend(is_cut.then(|| cut_off(&lowercase, &form)).flatten());
        }
    }
    marked(kept, &ranges)
}

/// Returns the spellings of a secret that are searched for, in lower case.
pub(crate) fn forms(secret: &Secret) -> Vec<Zeroizing<String>> {
    let secret = secret.expose();
    if secret.len() < MIN_SECRET {
        return Vec::new();
    }
    let encoded: Zeroizing<String> = Zeroizing::new(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
    let quoted = Zeroizing::new(format!("{secret:?}"));
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    let mut forms: Vec<Zeroizing<String>> =
        [secret, &encoded, inner].into_iter().map(|form| Zeroizing::new(form.to_ascii_lowercase())).collect();
    forms.dedup();
    forms
}

/// Finds every occurrence between the marks that the text already has, overlapping ones included.
fn find(text: &str, lowercase: &str, form: &str, ranges: &mut Vec<Range<usize>>) {
    if form.len() > lowercase.len() {
        return;
    }
    for part in between_marks(text) {
        let mut from = part.start;
        while let Some(at) = lowercase.get(from..part.end).and_then(|rest| rest.find(form)) {
            let start = from + at;
            ranges.push(start..start + form.len());
            from = start + form.chars().next().map_or(1, char::len_utf8);
        }
    }
}

/// Returns the end of a text that was cut within this spelling.
fn cut_off(lowercase: &str, form: &str) -> Option<Range<usize>> {
    let shorter = form.char_indices().map(|(at, _)| at).take_while(|at| *at <= lowercase.len());
    let longest = shorter.filter(|at| *at >= MIN_SECRET && lowercase.ends_with(&form[..*at])).last()?;
    Some(lowercase.len() - longest..lowercase.len())
}

fn between_marks(text: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, mark) in text.match_indices(MARK) {
        parts.push(from..at);
        from = at + mark.len();
    }
    parts.push(from..text.len());
    parts
}

/// Replaces these ranges, merged, with marks; cuts again, but not within a mark.
fn marked(text: &str, ranges: &[Range<usize>]) -> String {
    let mut ranges = ranges.to_vec();
    ranges.sort_by_key(|range| range.start);
    let mut marked = String::new();
    let mut from = 0;
    let mut rest = ranges.into_iter().peekable();
    while let Some(Range { start, mut end }) = rest.next() {
        while let Some(next) = rest.next_if(|next| next.start <= end) {
            end = end.max(next.end);
        }
        marked.push_str(&text[from..start]);
        marked.push_str(MARK);
        from = end;
    }
    marked.push_str(&text[from..]);
    let short = cut(&marked, MAX_TEXT);
    // Part of a mark would not be recognized as one.
    let piece = short.rfind('[').filter(|at| marked[*at..].starts_with(MARK) && at + MARK.len() > short.len());
    piece.map_or(short, |at| &short[..at]).to_owned()
}

/// Returns the beginning of a text: whole characters in at most `bytes` bytes.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(text: &str, secrets: &[&str]) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect();
        redacted(text, &secrets)
    }

    #[test]
    fn every_spelling_that_messages_have_is_found() {
        for (text, secret, expected) in [
            ("user:Pass/Word is wrong", "Pass/Word", "user:[redacted] is wrong"),
            ("text/x-pass/word", "Pass/Word", "text/x-[redacted]"),
            ("?password=Pass%2FWord&x", "Pass/Word", "?password=[redacted]&x"),
            ("header \"a\\\"bcd\"", "a\"bcd", "header \"[redacted]\""),
            ("nothing here", "Pass/Word", "nothing here"),
        ] {
            assert_eq!(redact(text, &[secret]), expected);
        }
    }

    #[test]
    fn all_secrets_are_found_in_the_text_as_it_came_in() {
        // One is a piece of another, two overlap, one overlaps with itself, and one is a piece of the mark.
        assert_eq!(redact("x abcdefgh y", &["cdef", "abcdefgh"]), "x [redacted] y");
        assert_eq!(redact("x abcdefgh y", &["abcdef", "defgh"]), "x [redacted] y");
        assert_eq!(redact("x ababab y", &["abab"]), "x [redacted] y");
        assert_eq!(redact("abcd dact", &["abcd", "dact", "[redacted]"]), "[redacted] [redacted]");
        assert_eq!(redact("[redacted] x", &["dact"]), "[redacted] x");
    }

    #[test]
    fn short_secrets_are_not_searched_for() {
        assert_eq!(redact("every e is here", &["e", "", "is", "her"]), "every e is here");
    }

    /// 256 tokens that occur in the mark itself must not make a message grow without end.
    #[test]
    fn a_text_stays_within_its_bound() {
        let secrets: Vec<Secret> = ["e", "reda", "acte", "[redacted]", "dddd"]
            .iter()
            .cycle()
            .take(256)
            .map(|secret| Secret::new((*secret).to_owned()))
            .collect();
        for text in ["e".repeat(100_000), "dddd ".repeat(100_000), "reda".repeat(100_000), "é".repeat(100_000)] {
            let once = redacted(&text, &secrets);
            assert!(once.len() <= MAX_TEXT, "{}", once.len());
            assert_eq!(redacted(&once, &secrets), once);
        }
    }

    #[test]
    fn a_secret_that_the_cut_goes_through_is_marked() {
        let text = format!("{}secret-and-long", "x".repeat(MAX_TEXT - 7));
        let shown = redact(&text, &["secret-and-long"]);
        assert!(!shown.contains("secret"), "{shown}");
    }
}
