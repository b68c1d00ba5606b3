//! The text of a file, or of a string in it that is YAML itself, with the place in the file of every byte.

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::ScalarStyle;

use super::tree::{Node, Place, Value};

/// A text, and where it is in the file.
pub struct Source<'a> {
    file: &'a str,
    text: Cow<'a, str>,
    /// The place in the file of each byte; `None` for the file itself.
    places: Option<Vec<usize>>,
}

impl<'a> Source<'a> {
    /// Returns the text of a file.
    pub const fn of_file(file: &'a str) -> Self {
        Self { file, text: Cow::Borrowed(file), places: None }
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text of a string; `None` if the string is not written as it reads, such as one that is folded.
    pub fn of_string(&self, node: &Node) -> Option<Self> {
        let Value::Scalar { text, style } = &node.value else { return None };
        let written = match style {
            ScalarStyle::Literal => literal(&self.text, node.place.bytes.start, text)?,
            ScalarStyle::DoubleQuoted => quoted(&self.text, &node.place.bytes, text, double_quoted_letter)?,
            ScalarStyle::SingleQuoted => quoted(&self.text, &node.place.bytes, text, single_quoted_letter)?,
            ScalarStyle::Plain => {
                let plain = self.text.get(node.place.bytes.clone()).filter(|plain| plain == text)?;
                (node.place.bytes.start..node.place.bytes.start + plain.len()).collect()
            }
            ScalarStyle::Folded => return None,
        };
        let places = written.into_iter().map(|byte| self.byte(byte)).collect::<Option<Vec<usize>>>()?;
        Some(Self { file: self.file, text: Cow::Owned(text.clone()), places: Some(places) })
    }

    /// Returns the place in the file of a byte of the text.
    fn byte(&self, byte: usize) -> Option<usize> {
        match &self.places {
            None => Some(byte),
            Some(places) => places.get(byte).copied(),
        }
    }

    /// Returns the place in the file of a value.
    pub fn place(&self, place: &Place) -> Place {
        let Some(places) = &self.places else { return place.clone() };
        let start = places.get(place.bytes.start).or(places.last()).copied().unwrap_or_default();
        let end = place.bytes.end.checked_sub(1).and_then(|last| places.get(last)).map_or(start, |last| last + 1);
        let before = self.file.get(..start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        Place {
            line: 1 + before.bytes().filter(|byte| *byte == b'\n').count(),
            column: 1 + line.chars().count(),
            bytes: start..end.max(start),
        }
    }
}

/// Returns where the bytes of a literal block are. Its lines are those of the text behind one indentation.
fn literal(written: &str, start: usize, text: &str) -> Option<Vec<usize>> {
    let mut line = match written.as_bytes().get(start)? {
        b'|' => start + written[start..].find('\n')? + 1,
        _ => written[..start].rfind('\n').map_or(0, |end| end + 1),
    };
    let mut places = Vec::with_capacity(text.len());
    let mut indentation = None;
    for part in text.split_inclusive('\n') {
        let content = part.trim_end_matches('\n');
        let rest = written.get(line..)?;
        let whole = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let visible = whole.strip_suffix('\r').unwrap_or(whole);
        let before = match content.is_empty() {
            true => visible.len(),
            false => visible.len().checked_sub(content.len())?,
        };
        let is_indented = visible.get(..before)?.bytes().all(|byte| byte == b' ') && visible.get(before..)? == content;
        if !is_indented || !content.is_empty() && *indentation.get_or_insert(before) != before {
            return None;
        }
        places.extend(line + before..line + before + content.len());
        places.extend((part.len() > content.len()).then_some(line + whole.len()));
        line += whole.len() + 1;
    }
    Some(places)
}

/// Reads one letter of a quoted string at the start of a text: what it stands for, and how many bytes it has.
type ReadLetter = fn(&str) -> Option<(char, usize)>;

/// Returns where the bytes of a quoted string are. One that is folded over lines has none.
fn quoted(written: &str, bytes: &Range<usize>, text: &str, read: ReadLetter) -> Option<Vec<usize>> {
    let inner = bytes.start + 1..bytes.end.checked_sub(1)?;
    let mut rest = written.get(inner.clone())?;
    let (mut places, mut place, mut letters) = (Vec::with_capacity(text.len()), inner.start, text.chars());
    while !rest.is_empty() {
        let (letter, length) = read(rest)?;
        if letters.next() != Some(letter) {
            return None;
        }
        places.extend((0..letter.len_utf8()).map(|byte| place + byte.min(length - 1)));
        (place, rest) = (place + length, rest.get(length..)?);
    }
    letters.next().is_none().then_some(places)
}

fn single_quoted_letter(rest: &str) -> Option<(char, usize)> {
    match rest.chars().next()? {
        '\'' => rest.starts_with("''").then_some(('\'', 2)),
        '\n' | '\r' => None,
        letter => Some((letter, letter.len_utf8())),
    }
}

fn double_quoted_letter(rest: &str) -> Option<(char, usize)> {
    let mut letters = rest.chars();
    match letters.next()? {
        '\n' | '\r' => None,
        '\\' => match letters.next()? {
            'n' => Some(('\n', 2)),
            't' => Some(('\t', 2)),
            'r' => Some(('\r', 2)),
            letter @ ('"' | '\\' | '/') => Some((letter, 2)),
            'u' => char::from_u32(u32::from_str_radix(rest.get(2..6)?, 16).ok()?).map(|letter| (letter, 6)),
            _ => None,
        },
        letter => Some((letter, letter.len_utf8())),
    }
}
