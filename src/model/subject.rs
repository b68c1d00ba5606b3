//! Subjects of findings: objects of the cluster, registries, versions and reads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::as_text::as_text;
use crate::model::foreign_text::{cut, line};
use crate::model::object_ref::ObjectRef;
use crate::model::settings::PrepareVersion;

/// Maximum length of the name of a subject that is not an object, in bytes.
const LONGEST: usize = 512;

/// The text of [`Subject::OperatorKinds`].
const OPERATOR_KINDS: &str = "CustomResourceDefinition";

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// An object of the cluster.
    Object(ObjectRef),
    /// A registry, by host and port. Created by [`Subject::registry`].
    Registry(String),
    /// An operator version to prepare.
    Operator(PrepareVersion),
    /// A read from the API server, such as `list nodes`. Created by [`Subject::read`].
    Read {
        /// `list` or `get`.
        verb: String,
        /// What was read.
        resource: String,
    },
    /// The custom resource definitions of the operator.
    OperatorKinds,
}

/// The error for a text that is not the subject of a finding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not something that a finding is about")]
pub struct InvalidSubject(String);

impl Subject {
    /// Returns a registry, by host and port.
    #[must_use]
    pub fn registry(host: &str) -> Self {
        Self::Registry(line(host, LONGEST))
    }

    /// Parses a read in the form of [`ReadFailure::what`](crate::model::read::ReadFailure): verb and resource.
    #[must_use]
    pub fn read(what: &str) -> Self {
        let (verb, resource) = what.split_once(' ').unwrap_or(("get", what));
        Self::Read { verb: line(verb, LONGEST), resource: line(resource, LONGEST) }
    }

    /// Returns the object, if the subject is one.
    #[must_use]
    pub const fn object(&self) -> Option<&ObjectRef> {
        match self {
            Self::Object(object) => Some(object),
            Self::Registry(_) | Self::Operator(_) | Self::Read { .. } | Self::OperatorKinds => None,
        }
    }
}

impl From<ObjectRef> for Subject {
    fn from(object: ObjectRef) -> Self {
        Self::Object(object)
    }
}

impl PartialEq<ObjectRef> for Subject {
    fn eq(&self, other: &ObjectRef) -> bool {
        self.object() == Some(other)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => object.fmt(formatter),
            Self::Registry(host) => write!(formatter, "registry {host}"),
            Self::Operator(version) => write!(formatter, "operator {version}"),
            Self::Read { verb, resource } => write!(formatter, "{verb} {resource}"),
            Self::OperatorKinds => formatter.write_str(OPERATOR_KINDS),
        }
    }
}

impl FromStr for Subject {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSubject(cut(text, 100));
        match text.split_once(' ') {
            None if text == OPERATOR_KINDS => Ok(Self::OperatorKinds),
            Some(("registry", host)) => Ok(Self::registry(host)),
            Some(("operator", version)) => version.parse().map(Self::Operator).map_err(|_| invalid()),
            Some(("list" | "get", _)) => Ok(Self::read(text)),
            _ => text.parse().map(Self::Object).map_err(|_| invalid()),
        }
    }
}

as_text!(Subject);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_parses_back_from_its_text() {
        let operator = |text: &str| Subject::Operator(text.parse().unwrap());
        for (subject, text) in [
            (Subject::from(ObjectRef::image_set("calico-v3.31.7")), "ImageSet calico-v3.31.7"),
            (Subject::registry("registry.example:5000"), "registry registry.example:5000"),
            (operator("v1.42.4"), "operator v1.42.4"),
            (operator("registry.example/tigera/operator:v1"), "operator registry.example/tigera/operator:v1"),
            (Subject::read("list pods in calico-system"), "list pods in calico-system"),
            (Subject::OperatorKinds, "CustomResourceDefinition"),
        ] {
            assert_eq!(subject.to_string(), text);
            assert_eq!(text.parse(), Ok(subject));
        }
        for text in ["", "something", "operator of somebody", "watch nodes", "imageset calico-v3.31.7"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
