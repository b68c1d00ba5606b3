//! A policy's spec as the API server keeps it, parsed into what decisions work with. What cannot be parsed is a finding
//! that names the field; the API server's validation lets little of that through.

use crate::api::requests::{MOST_REQUESTED, entries, version_and_time};
use crate::api::{self, ImageSetPolicySpec};
use crate::model::foreign_text::{cut, escaped};
use crate::model::{
    Channel, Discover, Finding, InstallationSettings, InvalidPrepareVersion, ObjectRef, OperatorLocation,
    PrepareRequest, PrepareVersion, Reason, RegistryLayout, Settings, Variant,
};

/// Returns the entries of `spec.prepare.versions`, each once.
fn prepared_versions(spec: &ImageSetPolicySpec, objections: &mut impl FnMut(String, String)) -> Vec<PrepareVersion> {
    let mut prepare = Vec::new();
    for (index, version) in spec.prepare.versions.iter().enumerate() {
        match version.parse() {
            Ok(version) if prepare.contains(&version) => {}
            Ok(version) => prepare.push(version),
            Err(error) => objections(format!("spec.prepare.versions[{index}]"), format!("{error}")),
        }
    }
    prepare
}

/// Parses a spec. Invalid fields keep their default and are reported.
#[must_use]
pub fn parse(spec: &ImageSetPolicySpec) -> (Settings, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut objections = |field: String, error: String| {
        findings.push(Finding::new(Reason::PolicyInvalid, ObjectRef::policy(), format!("{field}: {error}")));
    };
    let prepare = prepared_versions(spec, &mut objections);
    let mut settings = Settings {
        mode: spec.mode,
        suspend: spec.suspend,
        operator: operator_location(spec),
        installation: installation_settings(&spec.installation),
        prepare,
        gate: spec.gate,
        discover: discover(&spec.prepare.discover),
        on_missing: spec.images.on_missing,
        tag_moved: spec.tag_moved,
        take_ownership: spec.take_ownership,
        retain: u32::try_from(spec.retain).unwrap_or_default(),
        recheck_interval: spec.recheck.interval.duration(),
        inspection_enabled: spec.inspection.enabled,
        inspection_namespace: spec.inspection.namespace.clone(),
        ..Settings::default()
    };
    for (index, name) in spec.images.exclude.iter().enumerate() {
        match name.parse() {
            Ok(name) => {
                settings.exclude.insert(name);
            }
            Err(error) => objections(format!("spec.images.exclude[{index}]"), format!("{error}")),
        }
    }
    for (name, digest) in &spec.images.digests {
        match (name.parse(), digest.parse()) {
            (Ok(name), Ok(digest)) => {
                settings.digests.insert(name, digest);
            }
            (Err(error), _) => objections("spec.images.digests".to_owned(), format!("{error}")),
            (_, Err(error)) => objections(format!("spec.images.digests[{name}]"), format!("{error}")),
        }
    }
    (settings, findings)
}

/// Where the operator runs.
#[must_use]
pub fn operator_location(spec: &ImageSetPolicySpec) -> OperatorLocation {
    let operator = spec.operator.clone();
    OperatorLocation { namespace: operator.namespace, deployment: operator.deployment, container: operator.container }
}

/// Parses the prepare annotation. An invalid entry does not affect the others.
#[must_use]
pub fn requested(annotation: &str) -> (Vec<PrepareRequest>, Vec<Finding>) {
    let (mut requested, mut wrong) = (Vec::new(), Vec::new());
    // More than that is no list that anybody wrote for us.
    for entry in entries(annotation).take(4 * MOST_REQUESTED) {
        let parsed = version_and_time(entry).ok_or_else(|| "it is not VERSION=TIME".to_owned());
        let version = |text: &str| text.parse().map_err(|error: InvalidPrepareVersion| error.to_string());
        match parsed.and_then(|(text, until)| Ok((version(text)?, until))) {
            Ok((version, until)) if requested.len() < MOST_REQUESTED => {
                requested.push(PrepareRequest { version, until })
            }
            Ok(_) => wrong.push((entry, format!("only {MOST_REQUESTED} versions can be asked for"))),
            Err(error) => wrong.push((entry, error)),
        }
    }
    let findings = wrong.into_iter().map(|(entry, error)| {
        let shown = cut(entry, 80);
        let message = escaped(&format!("{shown:?} in its prepare annotation: {error}"));
        Finding::new(Reason::PrepareRequestInvalid, ObjectRef::policy(), message)
    });
    (requested, findings.collect())
}

fn installation_settings(defaults: &api::InstallationDefaults) -> InstallationSettings {
    InstallationSettings {
        variant: match defaults.variant {
            api::InstallationVariant::Calico => Variant::Calico,
            api::InstallationVariant::TigeraSecureEnterprise | api::InstallationVariant::CalicoEnterprise => {
                Variant::Enterprise
            }
        },
        layout: RegistryLayout {
            registry: defaults.registry.clone(),
            image_path: defaults.image_path.clone(),
            image_prefix: defaults.image_prefix.clone(),
        },
        fips: defaults.fips_mode == api::FipsMode::Enabled,
        image_pull_secrets: defaults.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect(),
    }
}

fn discover(spec: &api::Discover) -> Option<Discover> {
    let channel = match spec.channel {
        api::Channel::Disabled => return None,
        api::Channel::Patch => Channel::Patch,
        api::Channel::Minor => Channel::Minor,
    };
    let limit = usize::try_from(spec.limit).unwrap_or_default();
    Some(Discover { channel, limit, interval: spec.interval.duration() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_policy_has_the_safe_defaults() {
        assert_eq!(parse(&ImageSetPolicySpec::default()), (Settings::default(), Vec::new()));
    }

    #[test]
    fn requests_are_read_part_by_part() {
        let digest = format!("reg.example:5000/tigera/operator:v1.43.0@sha256:{}", "a".repeat(64));
        let text = format!(
            " v1.42.4=2026-11-26T10:00:00Z, v1.43.0,,{digest}=2026-11-26T10:00:00+01:00,x=2026-11-26T10:00:00Z"
        );
        let (requested, findings) = super::requested(&text);
        let versions: Vec<String> = requested.iter().map(|one| format!("{} {}", one.version, one.until)).collect();
        assert_eq!(versions, ["v1.42.4 2026-11-26T10:00:00Z".to_owned(), format!("{digest} 2026-11-26T09:00:00Z")]);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings.iter().all(|finding| finding.reason == Reason::PrepareRequestInvalid && !finding.blocks()));
        let many: String = (0..40).map(|patch| format!("v1.42.{patch}=2026-11-26T10:00:00Z,")).collect();
        let (requested, findings) = super::requested(&many);
        assert_eq!((requested.len(), findings.len()), (MOST_REQUESTED, 40 - MOST_REQUESTED));
        assert_eq!(super::requested(&"=,".repeat(100_000)).1.len(), 4 * MOST_REQUESTED);
    }

    #[test]
    fn an_invalid_value_is_reported_with_its_field() {
        let mut spec = ImageSetPolicySpec::default();
        spec.prepare.versions = vec!["v1.42.4".into(), "v1.42.4".into(), "latest".into()];
        spec.images.digests.insert("calico/node".into(), "sha256:nonsense".into());
        let (settings, findings) = parse(&spec);
        assert_eq!(settings.prepare.len(), 1);
        let fields: Vec<&str> = findings.iter().map(|finding| finding.message.split(':').next().unwrap()).collect();
        assert_eq!(fields, ["spec.prepare.versions[2]", "spec.images.digests[calico/node]"]);
    }
}
