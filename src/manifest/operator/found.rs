//! What the finder finds: places of the operator's image, lines to add where there is no place, and what it cannot change.

use granit_parser::ScalarStyle;

use crate::manifest::ManifestError;
use crate::manifest::source::Source;
use crate::manifest::tree::{Node, Place, Value};
use crate::model::InstallationSettings;

/// What a file says about the operator's image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OperatorFile {
    /// Values that hold the image or its tag, in their order.
    pub places: Vec<OperatorPlace>,
    /// Lines to add where the file decides about the image and has no value that could hold a digest.
    pub additions: Vec<Addition>,
    /// What is not understood or does not have the image, with what to do.
    pub notices: Vec<Notice>,
    /// Images of other containers.
    pub other_images: Vec<OtherImage>,
    /// The image settings of the Installation in values of the operator's chart.
    pub installation: Option<InstallationSettings>,
}

/// A value that holds the operator's image, or its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorPlace {
    /// The whole image, such as `quay.io/tigera/operator:v1.42.4`.
    pub image: String,
    /// Where the value is.
    pub place: Place,
    /// What the value holds.
    pub holds: Holds,
    /// The value, without quotes.
    value: String,
    style: ScalarStyle,
}

/// What a value holds of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// All of it.
    Image,
    /// What follows the colon: a chart joins it with the name.
    Tag,
}

/// Lines to add to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addition {
    /// To a kustomization, which has the image in fields of its own.
    Kustomization {
        /// `images[]`.
        images: Vec<KustomizedImage>,
        /// The line of the kustomization.
        line: usize,
    },
    /// To values of a chart.
    Values(MissingVersion),
}

/// Values of a chart that have no version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingVersion {
    /// The keys down to the version. The text below a key with `: |-` is a string.
    pub keys: Vec<String>,
    /// The image without its tag, such as `quay.io/tigera/operator`.
    pub name: String,
    /// The line of the values.
    pub line: usize,
}

impl MissingVersion {
    /// Returns the lines that set the version.
    #[must_use]
    pub fn lines(&self, version: &str) -> String {
        let mut lines = String::new();
        for (depth, key) in self.keys.iter().enumerate() {
            let end = if key.contains(':') { "" } else { ":" };
            let value = if depth + 1 == self.keys.len() { format!(" {version}") } else { String::new() };
            lines.push_str(&format!("{}{key}{end}{value}\n", "  ".repeat(depth)));
        }
        lines
    }
}

/// An entry of a kustomization's `images`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KustomizedImage {
    /// `name`: the image in the resources.
    pub name: String,
    /// `newName`.
    pub new_name: Option<String>,
    /// `newTag`.
    pub new_tag: Option<String>,
    /// `digest`.
    pub digest: Option<String>,
}

/// A part of a file that has no value to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The kind of the object, or what it is.
    pub kind: String,
    /// Its line.
    pub line: usize,
    /// Its column.
    pub column: usize,
    /// What it is, and what to do.
    pub message: String,
    /// Whether it has the operator's image, so that the file cannot be pinned without it.
    pub has_image: bool,
}

impl From<Notice> for ManifestError {
    fn from(notice: Notice) -> Self {
        let Notice { kind, line, column, message, .. } = notice;
        Self { line, column, message: format!("{kind}: {message}") }
    }
}

/// The image of another container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherImage {
    /// The value.
    pub image: String,
    /// Its line.
    pub line: usize,
}

impl OperatorPlace {
    /// Returns the place of a value. `image` is the whole image, where the value holds only its tag.
    pub(super) fn new(source: &Source<'_>, node: &Node, image: Option<String>) -> Result<Self, ManifestError> {
        let place = source.place(&node.place);
        let reject = |message: &str| Err(ManifestError::at(&place, message));
        let what = if image.is_some() { "version" } else { "image" };
        match &node.value {
            Value::Alias => reject(&format!("the {what} is an alias; pin it where its anchor stands")),
            Value::Scalar { .. } if node.anchored => {
                reject(&format!("the {what} has an anchor; whatever refers to it would be changed as well"))
            }
            Value::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. } => {
                reject(&format!("the {what} is a block of text; write it on one line"))
            }
            Value::Scalar { text, style } => {
                let holds = if image.is_some() { Holds::Tag } else { Holds::Image };
                let image = image.unwrap_or_else(|| text.clone());
                Ok(Self { image, holds, value: text.clone(), place, style: *style })
            }
            _ => reject(&format!("the {what} is no text")),
        }
    }

    /// Returns the image as written, without tag and digest.
    #[must_use]
    pub fn repository(&self) -> &str {
        let name = self.image.split('@').next().unwrap_or_default();
        name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(repository, _)| repository)
    }

    /// Returns the text of the file with this tag and digest at this place; every other byte stays.
    ///
    /// # Errors
    /// The value is not written as it reads: it has escapes, or several lines.
    pub fn pinned(&self, file: &str, tag_and_digest: &str) -> Result<String, ManifestError> {
        let value = match self.holds {
            Holds::Image => format!("{}:{tag_and_digest}", self.repository()),
            Holds::Tag => tag_and_digest.to_owned(),
        };
        self.replaced(file, &value)
    }

    fn replaced(&self, file: &str, value: &str) -> Result<String, ManifestError> {
        let quotes = usize::from(self.style != ScalarStyle::Plain);
        let bytes = &self.place.bytes;
        // Within a quoted string the quotes are escaped, and longer than one byte.
        let written = file.get(bytes.clone()).unwrap_or_default();
        let inner = written.find(&self.value).filter(|start| *start >= quotes && !self.value.is_empty());
        let is_plain = |start: &usize| {
            let (before, after) = (&written[..*start], &written[*start + self.value.len()..]);
            let is_quote = |text: &str| text.bytes().all(|byte| matches!(byte, b'"' | b'\'' | b'\\'));
            is_quote(before) && is_quote(after) && (quotes > 0 || before.is_empty() && after.is_empty())
        };
        let Some(start) = inner.filter(is_plain) else {
            let message = "the image is not written as it reads; write it plainly on one line";
            return Err(ManifestError::at(&self.place, message));
        };
        let (start, end) = (bytes.start + start, bytes.start + start + self.value.len());
        Ok(format!("{}{value}{}", &file[..start], &file[end..]))
    }
}
