//! YAML as a tree in which every value has its place. Nothing is interpreted: numbers and booleans stay text.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::ManifestError;

/// The deepest nesting that is read; manifests have some fifteen levels.
const MAX_DEPTH: usize = 100;
/// Merges the keys of another mapping into this one (YAML 1.1).
pub const MERGE_KEY: &str = "<<";

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Counts from 1.
    pub line: usize,
    /// Counts from 1, in characters.
    pub column: usize,
    /// The range of bytes, quotes included.
    pub bytes: Range<usize>,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it begins.
    pub place: Place,
    /// It has an anchor, so that aliases may refer to it.
    pub anchored: bool,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A scalar.
    Scalar {
        /// The text, without quotes and escapes.
        text: String,
        /// How it is quoted.
        style: ScalarStyle,
    },
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping: keys and values in their order.
    Mapping(Vec<(Node, Node)>),
    /// A reference to an anchor.
    Alias,
}

impl Node {
    /// Returns the text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns the values of a key. More than one is invalid, and parsers differ in which one counts.
    fn all<'a, 'key>(&'a self, key: &'key str) -> impl Iterator<Item = &'a Self> + use<'a, 'key> {
        let pairs = match &self.value {
            Value::Mapping(pairs) => pairs.as_slice(),
            _ => &[],
        };
        pairs.iter().filter(move |(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// The key is there twice.
    pub fn get(&self, key: &str) -> Result<Option<&Self>, ManifestError> {
        let mut all = self.all(key);
        let first = all.next();
        match all.next() {
            Some(second) => Err(ManifestError::at(&second.place, format!("{key:?} is there twice"))),
            None => Ok(first),
        }
    }

    /// Returns the value at a path of keys.
    ///
    /// # Errors
    /// A key is there twice, or a value on the way is an alias or may come from a merge key.
    pub fn path(&self, keys: &[&str]) -> Result<Option<&Self>, ManifestError> {
        let mut node = self;
        for key in keys {
            node.not_alias()?;
            match node.get(key)? {
                Some(value) => node = value,
                None => match node.get(MERGE_KEY)? {
                    Some(merged) => {
                        let message =
                            format!("{key:?} may come from this merge key, which is not followed; write it out");
                        return Err(ManifestError::at(&merged.place, message));
                    }
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(node))
    }

    /// Returns the text at a path of keys.
    ///
    /// # Errors
    /// As for [`Self::path`], or the value itself is an alias.
    pub fn text_at(&self, keys: &[&str]) -> Result<Option<&str>, ManifestError> {
        let Some(value) = self.path(keys)? else { return Ok(None) };
        value.not_alias()?;
        Ok(value.text())
    }

    /// Returns the text of a key, if it is written out. For telling apart documents, most of which do not matter here.
    ///
    /// # Errors
    /// The key is there twice.
    pub fn written_out(&self, key: &str) -> Result<Option<&str>, ManifestError> {
        Ok(self.get(key)?.and_then(Self::text))
    }

    /// Returns the items of a sequence; none for other values.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// Rejects aliases.
    ///
    /// # Errors
    /// It is an alias.
    pub fn not_alias(&self) -> Result<(), ManifestError> {
        match self.value {
            Value::Alias => Err(ManifestError::at(
                &self.place,
                "this is an alias; what it stands for is not looked for: write it out",
            )),
            _ => Ok(()),
        }
    }
}

/// Returns all documents of a text but the empty ones.
///
/// # Errors
/// The text is not YAML, or is nested more than 100 levels deep.
pub fn documents(text: &str) -> Result<Vec<Node>, ManifestError> {
    let mut found = Vec::new();
    let mut open: Vec<(Node, Option<Node>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            ManifestError { line, column, message: format!("this is no YAML: {}", error.info()) }
        })?;
        let node = match event {
            Event::Scalar(value, style, anchor, _) => {
                let is_empty = value.is_empty() && span.is_empty();
                let node = node(Value::Scalar { text: value.into_owned(), style }, &span, anchor != 0);
                if is_empty && open.is_empty() {
                    continue;
                }
                Some(node)
            }
            Event::SequenceStart(_, anchor, _) => {
                open.push((node(Value::Sequence(Vec::new()), &span, anchor != 0), None));
                None
            }
            Event::MappingStart(_, anchor, _) => {
                open.push((node(Value::Mapping(Vec::new()), &span, anchor != 0), None));
                None
            }
            Event::Alias(_) => Some(node(Value::Alias, &span, false)),
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|(node, _)| node),
            _ => None,
        };
        if open.len() > MAX_DEPTH {
            return Err(ManifestError::at(&place(&span), format!("this is nested more than {MAX_DEPTH} levels deep")));
        }
        let Some(node) = node else { continue };
        match open.last_mut() {
            None => found.push(node),
            Some((Node { value: Value::Sequence(items), .. }, _)) => items.push(node),
            Some((Node { value: Value::Mapping(pairs), .. }, key)) => match key.take() {
                None => *key = Some(node),
                Some(key) => pairs.push((key, node)),
            },
            Some(_) => {}
        }
    }
    Ok(found)
}

/// Returns all objects of a text: its documents, and the items of those that are Lists.
///
/// # Errors
/// As for [`documents`], or a key is there twice.
pub fn objects(text: &str) -> Result<Vec<Node>, ManifestError> {
    let mut found = Vec::new();
    for document in documents(text)? {
        flatten_list(document, &mut found)?;
    }
    Ok(found)
}

fn flatten_list(object: Node, found: &mut Vec<Node>) -> Result<(), ManifestError> {
    if !object.written_out("kind")?.is_some_and(|kind| kind.ends_with("List")) {
        found.push(object);
        return Ok(());
    }
    for item in object.get("items")?.map(Node::items).unwrap_or_default() {
        flatten_list(item.clone(), found)?;
    }
    Ok(())
}

fn node(value: Value, span: &Span, anchored: bool) -> Node {
    Node { value, place: place(span), anchored }
}

fn place(span: &Span) -> Place {
    let bytes = span.byte_range().unwrap_or_default();
    Place { line: span.start.line(), column: span.start.col() + 1, bytes }
}
