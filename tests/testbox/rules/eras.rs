//! The eras of the operator: how a release selects an ImageSet and in which words it complains.
//!
//! Real operators were observed at v1.25.7, v1.30.4, v1.34.5, v1.42.4 and v1.43.0 (`tests/facts/operator-behaviour.md`).
//! Where a border between two observations lies is not published; each is placed at the release whose published facts
//! change with it, and says so.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, anyhow};

use super::Variant;
use super::requirements::Component;
use super::verdict::Rejection;

/// An operator release, ordered by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32, pub u32, pub u32);

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || anyhow!("{text:?} is not a version like v1.42.4");
        let mut numbers = text.strip_prefix('v').ok_or_else(wrong)?.split('.').map(|part| part.parse::<u32>());
        let mut next = || numbers.next().and_then(|number| number.ok()).ok_or_else(wrong);
        let version = Self(next()?, next()?, next()?);
        if numbers.next().is_some() {
            return Err(wrong());
        }
        Ok(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "v{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The words of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Era {
    /// Free text stands in the condition's reason. Observed at v1.25.7.
    TextInReason,
    /// Closed reasons (`ResourceReadError`), `Error getting ImageSet: …`. Observed at v1.30.4.
    ///
    /// Border v1.29.0, an assumption: somewhere between v1.25.7 and v1.30.4.
    ClosedReasons,
    /// The Tigera CA is made first and needs key-cert-provisioner, so it is what fails first. Observed at v1.34.5.
    ///
    /// Border v1.34.0: the release that moved key-cert-provisioner into Calico's own list.
    AuthorityFirst,
    /// `invalid ImageSet` in lower case. Observed at v1.42.4 and v1.43.0.
    ///
    /// Border v1.36.0, an assumption: the release that reworked the validation (it began to refuse `tigera/operator`).
    LowerCase,
}

impl Era {
    /// The era of a release.
    pub fn of(version: Version) -> Self {
        match version {
            version if version >= Version(1, 36, 0) => Self::LowerCase,
            version if version >= Version(1, 34, 0) => Self::AuthorityFirst,
            version if version >= Version(1, 29, 0) => Self::ClosedReasons,
            _ => Self::TextInReason,
        }
    }

    /// True if a set of any name blocks; else only those whose name begins as the variant's do.
    ///
    /// Seen at v1.25.7 and v1.30.4, gone in v1.34.5; border v1.34.0, as the domain notes have it.
    pub fn any_set_blocks(self) -> bool {
        self < Self::AuthorityFirst
    }

    /// True if key-cert-provisioner is looked up before the set is validated, certificate management or not.
    pub fn makes_authority_first(self) -> bool {
        self >= Self::AuthorityFirst
    }

    /// The Installation has a FIPS mode that the release doesn't know any more.
    pub fn refused_fips(variant: Variant, version: Version) -> Rejection {
        let spec = if version >= Version(1, 41, 0) { "installation" } else { "Installation" };
        let why = match version >= Version(1, 43, 0) {
            true => "is not supported; FIPS mode has been removed".to_owned(),
            false => format!("combined with spec.Variant={} is not supported", variant.spec()),
        };
        let message = format!("Invalid Installation provided: {spec} spec.FIPSMode=Enabled {why}");
        Rejection::new(Component::Calico, "InvalidConfigurationError", &message)
    }

    /// ImageSets exist, but not the one.
    pub fn blocked(self, component: Component, expected: &str) -> Rejection {
        let cause = format!("ImageSets exist but none with the expected name {expected}");
        match (self, component) {
            (Self::TextInReason, Component::Calico) => Rejection::new(component, "Error getting ImageSet", &cause),
            (Self::ClosedReasons, Component::Calico) => {
                Rejection::new(component, "ResourceReadError", &format!("Error getting ImageSet: {cause}"))
            }
            _ if self.makes_authority_first() && component.makes_authority() => self.authority(component, &cause),
            _ => self.images(component, &cause),
        }
    }

    /// The set has an unknown name or a bad digest; `cause` names the set.
    pub fn invalid(self, component: Component, cause: &str) -> Rejection {
        match (self, component) {
            (Self::TextInReason, Component::Calico) => Rejection::new(component, "Error validating ImageSet", cause),
            (_, Component::Calico) => {
                Rejection::new(component, "ResourceValidationError", &format!("Error validating ImageSet: {cause}"))
            }
            _ => self.images(component, cause),
        }
    }

    /// Images are missing; `causes` are the rendered components' own texts.
    pub fn incomplete(self, component: Component, causes: &[String]) -> Rejection {
        let word = if self == Self::LowerCase { "invalid" } else { "Invalid" };
        let cause = format!("{word} ImageSet: {}", causes.join(", "));
        match (self, component) {
            (Self::TextInReason, Component::Calico) => {
                Rejection::new(component, "Error resolving ImageSet for components", &cause)
            }
            (_, Component::Calico) => Rejection::new(
                component,
                "ResourceValidationError",
                &format!("Error resolving ImageSet for components: {cause}"),
            ),
            _ => self.images(component, &cause),
        }
    }

    /// The Tigera CA could not be made.
    pub fn authority(self, component: Component, cause: &str) -> Rejection {
        Rejection::new(component, "ResourceCreateError", &format!("Unable to create the Tigera CA: {cause}"))
    }

    /// What every controller but the core one says. The reason was seen for `apiserver` and `gatewayapi`; the others are
    /// taken to be like `gatewayapi`.
    fn images(self, component: Component, cause: &str) -> Rejection {
        match (self, component) {
            (Self::TextInReason, _) => Rejection::new(component, "Error with images from ImageSet", cause),
            (_, Component::ApiServer) => {
                Rejection::new(component, "ResourceUpdateError", &format!("Error with images from ImageSet: {cause}"))
            }
            _ => Rejection::new(component, "ResourceCreateError", &format!("Error with images from ImageSet: {cause}")),
        }
    }
}
