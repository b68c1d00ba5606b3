//! References to objects of the cluster by kind, namespace and name. This is the one list of the kinds and their API versions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::as_text::as_text;
use crate::model::foreign_text::{cut, escaped_to};

/// The only name that a policy may have.
pub const POLICY_NAME: &str = "default";
/// The name of the objects of the admission gate.
pub const GATE_NAME: &str = "imageset-controller-gate";

/// Maximum length of a kind, namespace or name, in bytes. Kubernetes allows 253, but does not validate the names of owners.
const LONGEST: usize = 512;

macro_rules! kinds {
    ($($kind:ident $api_version:literal $namespaced:literal,)*) => {
        /// The kind of an object, which determines the API version.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Kind {
            $(#[doc = $api_version] $kind,)*
            /// Another kind, such as that of a pod's owner. Parsing never uses it for one of the kinds above.
            Other(Box<str>),
        }

        impl Kind {
            /// Returns the kind as manifests name it, such as `DaemonSet`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self { $(Self::$kind => stringify!($kind),)* Self::Other(kind) => kind }
            }

            /// Returns the API version, such as `apps/v1`; `None` for a kind that the controller neither reads nor writes.
            #[must_use]
            pub const fn api_version(&self) -> Option<&'static str> {
                match self { $(Self::$kind => Some($api_version),)* Self::Other(_) => None }
            }

            const fn is_namespaced(&self) -> bool {
                match self { $(Self::$kind => $namespaced,)* Self::Other(_) => true }
            }
        }

        impl FromStr for Kind {
            type Err = InvalidObjectRef;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let plain = text.len() <= 63 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
                match text {
                    $(stringify!($kind) => Ok(Self::$kind),)*
                    _ if plain && text.starts_with(|first: char| first.is_ascii_uppercase()) => Ok(Self::Other(text.into())),
                    _ => Err(InvalidObjectRef(cut(text, 100))),
                }
            }
        }
    };
}

// In the order in which objects are listed.
kinds! {
    ConfigMap "v1" true,
    DaemonSet "apps/v1" true,
    Deployment "apps/v1" true,
    ImageSet "operator.tigera.io/v1" false,
    ImageSetPolicy "imageset-controller.io/v1alpha1" false,
    Installation "operator.tigera.io/v1" false,
    Job "batch/v1" true,
    Node "v1" false,
    Pod "v1" true,
    Secret "v1" true,
    TigeraStatus "operator.tigera.io/v1" false,
    ValidatingAdmissionPolicy "admissionregistration.k8s.io/v1" false,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A reference to an object, such as `DaemonSet calico-system/calico-node`. Two references are equal if they name the same
/// object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectRef {
    kind: Kind,
    namespace: Option<String>,
    name: String,
}

/// The error for a text that is not a reference to an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an object: Kind name, or Kind namespace/name")]
pub struct InvalidObjectRef(String);

impl ObjectRef {
    /// Returns a reference to an ImageSet.
    #[must_use]
    pub fn image_set(name: &str) -> Self {
        Self::new(Kind::ImageSet, None, name)
    }

    /// Returns a reference to the one ImageSetPolicy.
    #[must_use]
    pub fn policy() -> Self {
        Self::new(Kind::ImageSetPolicy, None, POLICY_NAME)
    }

    /// Returns a reference to the operator's Installation.
    #[must_use]
    pub fn installation() -> Self {
        Self::new(Kind::Installation, None, "default")
    }

    /// Returns a reference to the status of one component of the operator.
    #[must_use]
    pub fn tigera_status(name: &str) -> Self {
        Self::new(Kind::TigeraStatus, None, name)
    }

    /// Returns a reference to a node.
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self::new(Kind::Node, None, name)
    }

    /// Returns a reference to the admission gate.
    #[must_use]
    pub fn gate() -> Self {
        Self::new(Kind::ValidatingAdmissionPolicy, None, GATE_NAME)
    }

    /// Returns a reference to an object of a namespaced kind.
    #[must_use]
    pub fn namespaced(kind: Kind, namespace: &str, name: &str) -> Self {
        Self::new(kind, Some(namespace), name)
    }

    /// Creates a reference. Namespace and name are escaped and cut, because nobody validates the names of a pod's owners.
    fn new(kind: Kind, namespace: Option<&str>, name: &str) -> Self {
        let safe = |text: &str| escaped_to(text, LONGEST);
        Self { kind, namespace: namespace.map(safe), name: safe(name) }
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Returns the namespace; `None` for a cluster-scoped object.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = (&self.kind, &self.name);
        match &self.namespace {
            Some(namespace) => write!(formatter, "{kind} {namespace}/{name}"),
            None => write!(formatter, "{kind} {name}"),
        }
    }
}

impl FromStr for ObjectRef {
    type Err = InvalidObjectRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = || {
            let (kind, name) = text.split_once(' ')?;
            let kind: Kind = kind.parse().ok()?;
            let (namespace, name) = match kind.is_namespaced() {
                true => name.split_once('/').map(|(namespace, name)| (Some(namespace), name))?,
                false => (None, name),
            };
            (!name.is_empty() && namespace != Some("")).then(|| Self::new(kind, namespace, name))
        };
        parts().ok_or_else(|| InvalidObjectRef(cut(text, 100)))
    }
}

as_text!(Kind, ObjectRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_reference_parses_back_from_its_text() {
        let owner = |kind: &str, name: &str| ObjectRef::namespaced(kind.parse().unwrap(), "calico-system", name);
        for (object, text, api_version) in [
            (ObjectRef::image_set("calico-v3.31.7"), "ImageSet calico-v3.31.7", Some("operator.tigera.io/v1")),
            (ObjectRef::policy(), "ImageSetPolicy default", Some("imageset-controller.io/v1alpha1")),
            (owner("DaemonSet", "calico-node"), "DaemonSet calico-system/calico-node", Some("apps/v1")),
            (owner("Gateway", "of anybody/x"), "Gateway calico-system/of anybody/x", None),
            (owner("Pod", "a\u{1b}b"), "Pod calico-system/a\\u{1b}b", Some("v1")),
        ] {
            assert_eq!((object.to_string().as_str(), object.kind().api_version()), (text, api_version));
            assert_eq!(text.parse(), Ok(object.clone()));
        }
    }

    #[test]
    fn the_kind_of_the_policy_is_the_one_that_is_installed() {
        use crate::api::ImageSetPolicy;
        use kube::Resource;
        assert_eq!(Kind::ImageSetPolicy.api_version(), Some(ImageSetPolicy::api_version(&()).as_ref()));
        assert_eq!(Kind::ImageSetPolicy.as_str(), ImageSetPolicy::kind(&()));
    }

    #[test]
    fn malformed_object_references_are_rejected() {
        for text in [
            "",
            "ImageSet",
            "ImageSet ",
            "registry quay.io",
            "DaemonSet calico-node",
            "Pod /a",
            "Pod a/",
            "My-Kind a/b",
        ] {
            assert!(text.parse::<ObjectRef>().is_err(), "{text}");
        }
    }
}
