//! The places that a cluster pulls the operator's images from: the Installation's `registry`, `imagePath` and `imagePrefix`
//! applied to an image's default reference, as the operator does it (`pkg/components/references.go`).

use serde::{Deserialize, Serialize};

use crate::model::reference::{InvalidReference, Reference};

/// The value with which an Installation selects the default (operator: `UseDefault`).
const USE_DEFAULT: &str = "UseDefault";

/// The three settings of an Installation that move images to another place. Empty and `UseDefault` mean the default of the
/// operator version. The default differs per release and per image; the printed list has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryLayout {
    /// Host with optional port and path. A missing trailing slash is added.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registry: String,
    /// Replaces everything before the last segment: `calico/node` → `<imagePath>/node`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_path: String,
    /// Prefix of the last segment.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_prefix: String,
}

impl RegistryLayout {
    /// Whether every image is pulled from its default place.
    #[must_use]
    pub fn is_default(&self) -> bool {
        [&self.registry, &self.image_path, &self.image_prefix].iter().all(|setting| is_default(setting))
    }

    /// Returns the same layout in a canonical form: defaults empty, no slashes at the ends.
    #[must_use]
    pub fn normalised(&self) -> Self {
        // A setting that is empty or the default only without its slashes is invalid, and stays so.
        let setting = |text: &str| match text.trim_matches('/') {
            _ if is_default(text) => String::new(),
            _ if mistake(text).is_some() => text.to_owned(),
            "" | USE_DEFAULT => "/".to_owned(),
            trimmed => trimmed.to_owned(),
        };
        Self {
            registry: setting(&self.registry),
            image_path: setting(&self.image_path),
            image_prefix: if is_default(&self.image_prefix) { String::new() } else { self.image_prefix.clone() },
        }
    }

    /// Returns the reference that nodes pull instead of `default`: `<registry><imagePath>/<imagePrefix><name>:<tag>`.
    ///
    /// # Errors
    /// The settings do not make a reference: for instance, `registry` has a scheme, or the path has upper case.
    pub fn place(&self, default: &Reference) -> Result<Reference, InvalidReference> {
        if self.is_default() {
            return Ok(default.clone());
        }
        self.check_settings()?;
        // The operator keeps `<organisation>/<image>` as the name. Everything before it is the default registry.
        let whole = default.name();
        let (rest, image) = whole.rsplit_once('/').unwrap_or(("", &whole));
        let (default_registry, organisation) = match rest.rsplit_once('/') {
            Some((registry, organisation)) => (registry, Some(organisation)),
            None => (rest, None),
        };
        let registry = if is_default(&self.registry) { default_registry } else { self.registry.trim_matches('/') };
        let path = if is_default(&self.image_path) { organisation } else { Some(self.image_path.trim_matches('/')) };
        let prefix = if is_default(&self.image_prefix) { "" } else { self.image_prefix.as_str() };
        // Tag and digest are not part of this text, so that no setting can bring one of its own.
        default.renamed(&match path {
            Some(path) => format!("{registry}/{path}/{prefix}{image}"),
            None => format!("{registry}/{prefix}{image}"),
        })
    }
}

impl RegistryLayout {
    /// The operator puts settings together as they are, so that nodes cannot pull what these make.
    fn check_settings(&self) -> Result<(), InvalidReference> {
        let settings =
            [("registry", &self.registry), ("imagePath", &self.image_path), ("imagePrefix", &self.image_prefix)];
        for (name, value) in settings {
            if let Some(mistake) = mistake(value) {
                return Err(InvalidReference::of_setting(value, format!("{name} {mistake}")));
            }
        }
        Ok(())
    }
}

/// Returns what is wrong with a setting that no reference can have in it.
fn mistake(setting: &str) -> Option<&'static str> {
    if setting.ends_with(['\n', '\r']) {
        Some("ends with a line end, as a value from a file or a block of YAML does")
    } else if setting.starts_with(char::is_whitespace) || setting.ends_with(char::is_whitespace) {
        Some("has a blank before or after it")
    } else if setting.contains(char::is_whitespace) {
        Some("has a blank or a line end in it")
    } else if setting.contains("://") {
        Some("has a scheme; it begins with the host")
    } else if setting.contains("//") {
        Some("has two slashes in a row")
    } else {
        None
    }
}

fn is_default(setting: &str) -> bool {
    setting.is_empty() || setting == USE_DEFAULT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(registry: &str, image_path: &str, image_prefix: &str, default: &str) -> String {
        let layout = RegistryLayout {
            registry: registry.to_owned(),
            image_path: image_path.to_owned(),
            image_prefix: image_prefix.to_owned(),
        };
        layout.place(&default.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn references_are_placed_as_in_real_clusters() {
        let node = "quay.io/calico/node:v3.32.1";
        assert_eq!(place("", "UseDefault", "", node), node);
        assert_eq!(
            place("docker.io", "rancher", "mirrored-calico-", node),
            "docker.io/rancher/mirrored-calico-node:v3.32.1"
        );
        assert_eq!(place("mcr.microsoft.com/oss", "", "", node), "mcr.microsoft.com/oss/calico/node:v3.32.1");
        assert_eq!(place("reg.example:5000/", "", "x-", node), "reg.example:5000/calico/x-node:v3.32.1");
        let old = "gcr.io/unique-caldron-775/cnx/tigera/kibana:v3.11.0";
        assert_eq!(place("reg.example", "", "", old), "reg.example/tigera/kibana:v3.11.0");
        assert_eq!(place("", "team", "", old), "gcr.io/unique-caldron-775/cnx/team/kibana:v3.11.0");
        assert_eq!(place("", "team/calico", "", node), "quay.io/team/calico/node:v3.32.1");
    }

    #[test]
    fn the_mistake_in_a_setting_is_named() {
        let default = "quay.io/calico/node:v1".parse().unwrap();
        for (registry, image_path, words) in [
            ("reg.example\n", "", "registry ends with a line end"),
            ("reg.example/ ", "", "registry has a blank before or after it"),
            (" reg.example", "", "registry has a blank before or after it"),
            ("reg. example", "", "registry has a blank or a line end in it"),
            ("https://reg.example", "", "registry has a scheme"),
            ("reg.example//", "", "registry has two slashes in a row"),
            ("reg.example", "mirror//calico", "imagePath has two slashes in a row"),
            ("reg.example", "mirror\n", "imagePath ends with a line end"),
        ] {
            let layout = RegistryLayout {
                registry: registry.into(),
                image_path: image_path.into(),
                ..RegistryLayout::default()
            };
            for layout in [layout.normalised(), layout] {
                let error = layout.place(&default).unwrap_err().to_string();
                assert!(error.contains(words) && !error.contains('\n'), "{error}");
            }
        }
    }

    #[test]
    fn a_registry_with_a_scheme_is_rejected() {
        let layout = RegistryLayout { registry: "https://reg.example".into(), ..RegistryLayout::default() };
        assert!(layout.place(&"quay.io/calico/node:v1".parse().unwrap()).is_err());
    }

    #[test]
    fn a_setting_with_a_tag_or_digest_of_its_own_is_rejected() {
        let digest = crate::model::digest::Digest::of(b"x");
        for (registry, image_path, image_prefix) in [
            ("//", "", ""),
            ("", "//", ""),
            ("", "/UseDefault", ""),
            ("UseDefault/", "", ""),
            ("", "a:b", ""),
            ("", "", "x:"),
            ("", "", "x@"),
            ("", "", "x:y@"),
            ("reg.example/a:v1", "", ""),
        ] {
            let layout = RegistryLayout {
                registry: registry.to_owned(),
                image_path: image_path.to_owned(),
                image_prefix: image_prefix.to_owned(),
            };
            for default in [format!("quay.io/calico/node@{digest}"), "quay.io/calico/node:v1".to_owned()] {
                let default = default.parse().unwrap();
                assert!(layout.place(&default).is_err(), "{layout:?} {default}");
                assert!(layout.normalised().place(&default).is_err(), "{layout:?} {default}");
            }
        }
    }
}
