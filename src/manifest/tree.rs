//! YAML as a tree whose values know where they stand. Nothing is interpreted: numbers and booleans stay text.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::Refused;

/// The deepest nesting that is read; manifests have some fifteen levels.
const DEEPEST: usize = 100;
/// Takes keys of another mapping into this one (YAML 1.1).
const MERGE_KEY: &str = "<<";

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The bytes of the text, quotes included.
    pub bytes: Range<usize>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it begins.
    pub place: Place,
    /// It has an anchor, so that it may stand elsewhere, too.
    pub anchored: bool,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Scalar {
        /// As it is meant.
        text: String,
        /// How it is written.
        style: ScalarStyle,
    },
    /// Items.
    Sequence(Vec<Node>),
    /// Keys and values in their order.
    Mapping(Vec<(Node, Node)>),
    /// What stands at an anchor.
    Alias,
}

impl Node {
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The values of this key. More than one is no valid YAML, and which counts is anybody's guess.
    fn all<'a, 'key>(&'a self, key: &'key str) -> impl Iterator<Item = &'a Self> + use<'a, 'key> {
        let pairs = match &self.value {
            Value::Mapping(pairs) => pairs.as_slice(),
            _ => &[],
        };
        pairs.iter().filter(move |(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The key is there twice.
    pub fn get(&self, key: &str) -> Result<Option<&Self>, Refused> {
        let mut all = self.all(key);
        let first = all.next();
        match all.next() {
            Some(second) => Err(Refused::at(&second.place, format!("{key:?} is there twice"))),
            None => Ok(first),
        }
    }

    /// The value under several keys, one in the other. An alias on the way is refused: what it stands for is elsewhere.
    ///
    /// # Errors
    /// A key is there twice, or something on the way is an alias.
    pub fn path(&self, keys: &[&str]) -> Result<Option<&Self>, Refused> {
        let mut node = self;
        for key in keys {
            node.not_alias()?;
            match node.get(key)? {
                Some(value) => node = value,
                None => match node.get(MERGE_KEY)? {
                    Some(merged) => {
                        let message =
                            format!("{key:?} may come from this merge key, which is not followed; write it out");
                        return Err(Refused::at(&merged.place, message));
                    }
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(node))
    }

    /// The text under several keys, where there is one.
    ///
    /// # Errors
    /// As of [`Self::path`], and the value itself is an alias: that is not the same as none.
    pub fn text_at(&self, keys: &[&str]) -> Result<Option<&str>, Refused> {
        let Some(value) = self.path(keys)? else { return Ok(None) };
        value.not_alias()?;
        Ok(value.text())
    }

    /// The text of a key, only where it is written out: to tell documents apart, of which many are nobody's business here.
    ///
    /// # Errors
    /// The key is there twice.
    pub fn written_out(&self, key: &str) -> Result<Option<&str>, Refused> {
        Ok(self.get(key)?.and_then(Self::text))
    }

    /// The items of a sequence; none of anything else.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// # Errors
    /// It is an alias.
    pub fn not_alias(&self) -> Result<(), Refused> {
        match self.value {
            Value::Alias => {
                Err(Refused::at(&self.place, "this is an alias; what it stands for is not looked for: write it out"))
            }
            _ => Ok(()),
        }
    }
}

/// All documents of a text, those that are empty left out.
///
/// # Errors
/// The text is no YAML, or is nested deeper than anything that is meant seriously.
pub fn documents(text: &str) -> Result<Vec<Node>, Refused> {
    let mut found = Vec::new();
    let mut open: Vec<(Node, Option<Node>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            Refused { line, column, message: format!("this is no YAML: {}", error.info()) }
        })?;
        let done = match event {
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
        if open.len() > DEEPEST {
            return Err(Refused::at(&place(&span), format!("this is nested more than {DEEPEST} levels deep")));
        }
        let Some(done) = done else { continue };
        match open.last_mut() {
            None => found.push(done),
            Some((Node { value: Value::Sequence(items), .. }, _)) => items.push(done),
            Some((Node { value: Value::Mapping(pairs), .. }, key)) => match key.take() {
                None => *key = Some(done),
                Some(key) => pairs.push((key, done)),
            },
            Some(_) => {}
        }
    }
    Ok(found)
}

/// All objects of a text: its documents, and the items of those that are Lists.
///
/// # Errors
/// As of [`documents`], or a key is there twice.
pub fn objects(text: &str) -> Result<Vec<Node>, Refused> {
    let mut found = Vec::new();
    for document in documents(text)? {
        open_list(document, &mut found)?;
    }
    Ok(found)
}

fn open_list(object: Node, found: &mut Vec<Node>) -> Result<(), Refused> {
    if !object.written_out("kind")?.is_some_and(|kind| kind.ends_with("List")) {
        found.push(object);
        return Ok(());
    }
    for item in object.get("items")?.map(Node::items).unwrap_or_default() {
        open_list(item.clone(), found)?;
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
