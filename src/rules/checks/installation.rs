//! Check for an Installation that differs from the settings that the first set was made from.

use crate::model::{Evidence, Finding, InstallationSettings, ObjectRef, Reason};
use crate::rules::checks::input::CheckInput;

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let installation = input.snapshot.installation.known().and_then(Option::as_ref);
    let differs =
        installation.and_then(|installation| differs(&input.snapshot.settings.installation, &installation.settings));
    differs.into_iter().collect()
}

fn differs(policy: &InstallationSettings, installation: &InstallationSettings) -> Option<Finding> {
    let differs = *policy != InstallationSettings::default()
        && (policy.variant != installation.variant
            || policy.fips != installation.fips
            || policy.layout.normalised() != installation.layout.normalised());
    differs.then(|| {
        let (have, want) = (describe(installation), describe(policy));
        let message = format!("it says {have}; spec.installation says {want}");
        Finding::new(Reason::InstallationDiffers, ObjectRef::installation(), message)
            .with_evidence(Evidence::text(have, want))
    })
}

fn describe(settings: &InstallationSettings) -> String {
    let layout = settings.layout.normalised();
    let fips = if settings.fips { ", FIPS" } else { "" };
    let parts = [layout.registry, layout.image_path, layout.image_prefix];
    let place = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let place = if place.is_empty() { "default registry".to_owned() } else { place };
    format!("{}{fips}, {place}", settings.variant)
}
