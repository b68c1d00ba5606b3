//! Parses what an operator prints: `operator --version` and `operator --print-images=list`. Pure. The caller checks that the output is
//! complete (the container's exit code), because a truncated list looks like a list.
//!
//! Pod logs mix standard output with standard error, where an operator without a service account logs
//! `2026/11/24 02:41:57 [ERROR] Failed to read namespace file: …`. Therefore other lines are skipped, but a line that is nearly an
//! image is an error: a set without that image would be rejected by the operator.

use std::collections::BTreeSet;

use crate::model::{
    InvalidOperatorImages, InvalidRelease, OperatorImages, PrintedImages, ProductVersion, Reference, Release,
    foreign_text::cut,
};

/// Maximum size of the output, in bytes. The longest list of a known release has 4 KiB.
pub const LIMIT: usize = 256 * 1024;

/// Key of the operator's own image.
const OWN_KEY: &str = "tigera/operator";

/// Key of the image that both variants share, v1.15 to v1.33.
const COMMON_KEY: &str = "tigera/key-cert-provisioner";

/// From this series on, the operator's own image is not part of a component list, and its validator rejects the key.
const OWN_IMAGE_IS_APART: (u16, u16) = (1, 36);

/// Output that is not an operator's, or incomplete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOutput {
    /// More than [`LIMIT`].
    #[error("the output of --{option} has {length} bytes; no operator prints more than {LIMIT}")]
    TooLong {
        /// `version` or `print-images=list`.
        option: &'static str,
        /// In bytes.
        length: usize,
    },
    /// One of the three lines of `--version` is missing.
    #[error("the output of --version has no line `{0}: …`")]
    NoVersion(&'static str),
    /// One of the three lines of `--version` appears twice, with different versions.
    #[error("the output of --version has several lines `{0}: …` that differ")]
    SeveralVersions(&'static str),
    /// The operator's own version is neither that of a release nor that of a rebuild of one.
    #[error("the output of --version does not name a released operator: {0}")]
    Release(#[from] InvalidRelease),
    /// The text after `Calico:` or `Enterprise:` is neither a version nor a marker.
    #[error("the output of --version has {version:?} after `{product}:`, which is no version")]
    ProductVersion {
        /// `Calico` or `Enterprise`.
        product: &'static str,
        /// The first 100 characters of the text.
        version: String,
    },
    /// No line is an image.
    #[error("the output of --print-images=list has no image")]
    NoImages,
    /// A line that is an image by digest, or that looks like an image but is invalid.
    #[error("the output of --print-images=list has the line {0:?}, which is not an image by tag")]
    NotAnImage(String),
    /// Every operator prints its own image, so the list is incomplete or not an operator's.
    #[error("the output of --print-images=list does not have the operator's own image ({OWN_KEY}), so it is not whole")]
    NoOwnImage,
    /// More than one image of the operator.
    #[error("the output of --print-images=list has several images of the operator itself: {0} and {1}")]
    SeveralOwnImages(String, String),
    /// The two outputs are of different operators.
    #[error("--version was printed by operator {version}, --print-images=list by {own_image}")]
    OtherOperator {
        /// After `Operator:`.
        version: String,
        /// In the list.
        own_image: String,
    },
    /// One product has no image, as in the output of `--print-images=listcalico`.
    #[error("the output of --print-images=list has no {0} image, so it is not whole")]
    NoImagesOf(&'static str),
    /// The lists contradict themselves.
    #[error("the output of --print-images=list cannot be used: {0}")]
    Contradiction(#[from] InvalidOperatorImages),
}

/// Parses the output of `--version` and of `--print-images=list` of one operator build.
///
/// The list is flat: Calico's images, Enterprise's, the common one, the operator's own. The rules that split it hold for all releases
/// of the catalogue:
/// - Calico's part is the run of `calico/…` keys at the beginning; up to v1.35 it contains the operator's own image.
/// - The last image before the operator's own is common to both variants if it is `tigera/key-cert-provisioner` and its
///   registry or tag differs from that of the image before it; else (v1.14, v1.34 on) it is one of Enterprise's.
/// - An ImageSet may name the operator's own image if it was printed within Calico's part and the release is older
///   than v1.36.
///
/// The version of a rebuild is read as the release that it was built from ([`rebuild_of`]).
///
/// # Errors
/// See [`InvalidOutput`].
pub fn parse(version: &str, images: &str) -> Result<OperatorImages, InvalidOutput> {
    for (option, text) in [("version", version), ("print-images=list", images)] {
        if text.len() > LIMIT {
            return Err(InvalidOutput::TooLong { option, length: text.len() });
        }
    }
    let printed_version = version_line(version, "Operator")?;
    let release = Release::of_build(printed_version)?;
    let calico = product_version(version, "Calico")?;
    let enterprise = product_version(version, "Enterprise")?;

    let images = parse_references(images)?;
    let own_image = own_image(printed_version, &images)?;
    let is_calico = |image: &Image| image.key.starts_with("calico/") || image.key == OWN_KEY;
    let calico_length = images.iter().take_while(|image| is_calico(image)).count();
    let (calico_part, rest) = images.split_at(calico_length);
    // With nothing in between, an own image that is apart at the end looks like the end of Calico's part.
    let own_is_apart = release.series() >= OWN_IMAGE_IS_APART || rest.iter().any(|image| image.key == OWN_KEY);
    let rest: Vec<&Image> = rest.iter().filter(|image| image.key != OWN_KEY).collect();
    let (enterprise_part, common_part) = rest.split_at(rest.len() - usize::from(ends_with_common_image(&rest)));

    let references = |images: &mut dyn Iterator<Item = &Image>| -> BTreeSet<Reference> {
        images.filter(|image| image.key != OWN_KEY).map(|image| image.reference.clone()).collect()
    };
    let printed = PrintedImages {
        release,
        calico,
        enterprise,
        calico_images: references(&mut calico_part.iter()),
        enterprise_images: references(&mut enterprise_part.iter().copied()),
        common_images: references(&mut common_part.iter().copied()),
        rejected: own_image.image_name().into_iter().filter(|_| own_is_apart).collect(),
        own_image,
    };
    for (product, images) in [("Calico", &printed.calico_images), ("Enterprise", &printed.enterprise_images)] {
        if images.is_empty() {
            return Err(InvalidOutput::NoImagesOf(product));
        }
    }
    Ok(OperatorImages::new(printed)?)
}

/// Returns the version that a rebuild prints of itself, with the release that it is read as; `None` for a release.
#[must_use]
pub fn rebuild_of(version: &str) -> Option<(&str, Release)> {
    let printed = version_line(version, "Operator").ok()?;
    let release = Release::of_build(printed).ok()?;
    (release.to_string() != printed).then_some((printed, release))
}

/// Returns what a build prints after `Variant:`. Only builds for Calico Cloud print this line (`cmd/main.go`, after v1.43).
#[must_use]
pub fn build_variant(version: &str) -> Option<String> {
    version_line(version, "Variant").ok().map(|variant| cut(variant, 100))
}

/// One line of the list.
struct Image {
    reference: Reference,
    key: String,
}

impl Image {
    /// Returns registry and path before the key.
    fn place(&self) -> String {
        self.reference.name().trim_end_matches(&self.key).to_owned()
    }
}

fn ends_with_common_image(images: &[&Image]) -> bool {
    match images {
        [.., before, last] if last.key == COMMON_KEY => {
            last.reference.tag() != before.reference.tag() || last.place() != before.place()
        }
        _ => false,
    }
}

/// Returns the operator's own image, whose tag is the version that the same build prints.
fn own_image(version: &str, images: &[Image]) -> Result<Reference, InvalidOutput> {
    let own: BTreeSet<&Reference> =
        images.iter().filter(|image| image.key == OWN_KEY).map(|image| &image.reference).collect();
    let mut own = own.into_iter();
    match (own.next(), own.next()) {
        (None, _) => Err(InvalidOutput::NoOwnImage),
        (Some(first), Some(second)) => Err(InvalidOutput::SeveralOwnImages(first.to_string(), second.to_string())),
        (Some(own), None) if own.tag() != Some(version) => {
            Err(InvalidOutput::OtherOperator { version: cut(version, 100), own_image: own.to_string() })
        }
        (Some(own), None) => Ok(own.clone()),
    }
}

fn parse_references(text: &str) -> Result<Vec<Image>, InvalidOutput> {
    let mut images = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| may_be_reference(line)) {
        let wrong = || InvalidOutput::NotAnImage(cut(line, 300));
        let reference: Reference = line.parse().map_err(|_| wrong())?;
        // Operators print complete references; an omitted registry or tag would be a default of ours.
        if reference.digest().is_some() || reference.to_string() != line {
            return Err(wrong());
        }
        let key = reference.image_name().map_err(|_| wrong())?.to_string();
        images.push(Image { reference, key });
    }
    if images.is_empty() { Err(InvalidOutput::NoImages) } else { Ok(images) }
}

/// Whether a line is meant to be an image: one word whose first path segment is a registry's host. Log lines have several words, or
/// begin with a brace.
fn may_be_reference(line: &str) -> bool {
    let host = |host: &str| host.contains(['.', ':']) || host == "localhost";
    !line.contains(char::is_whitespace)
        && !line.starts_with(['{', '['])
        && line.split_once('/').is_some_and(|(first, rest)| !first.is_empty() && host(first) && !rest.starts_with('/'))
}

fn product_version(text: &str, product: &'static str) -> Result<ProductVersion, InvalidOutput> {
    let version = version_line(text, product)?;
    if ProductVersion::is_printable(version) {
        Ok(version.to_owned().into())
    } else {
        Err(InvalidOutput::ProductVersion { product, version: cut(version, 100) })
    }
}

fn version_line<'text>(text: &'text str, product: &'static str) -> Result<&'text str, InvalidOutput> {
    let versions: BTreeSet<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix(product)?.strip_prefix(':')).map(str::trim).collect();
    let mut versions = versions.into_iter();
    match (versions.next(), versions.next()) {
        (Some(version), None) => Ok(version),
        (None, _) => Err(InvalidOutput::NoVersion(product)),
        (Some(_), Some(_)) => Err(InvalidOutput::SeveralVersions(product)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Variant;

    const VERSION: &str = "2026/11/24 02:41:57 [ERROR] Failed to read namespace file: open /var/run/x: no such file\n\
        Operator: v1.99.0\nCalico: v3.99.0\nEnterprise: v3.98.0-1.0\n";
    const IMAGES: &str = "quay.io/calico/node:v3.99.0\n\
        2026/11/24 02:41:57 [ERROR] Failed to read namespace file: open quay.io/calico/x:v1: no such file\n\
        quay.io/calico/node:v3.99.0-fips\r\nquay.io/tigera/kibana:v3.98.0-1.0\nquay.io/tigera/operator:v1.99.0\n";

    #[test]
    fn an_unknown_version_is_parsed_and_noise_is_skipped() {
        let images = parse(VERSION, IMAGES).unwrap();
        assert_eq!(images.image_set_name(Variant::Calico).unwrap().as_str(), "calico-v3.99.0");
        assert_eq!(images.as_printed().calico_images.len(), 2);
        assert!(!images.accepts(&"tigera/operator".parse().unwrap()));
        assert!(images.accepts(&"tigera/kibana".parse().unwrap()));
    }

    #[test]
    fn a_rebuild_is_read_as_its_base_and_its_own_image_keeps_its_tag() {
        for rebuilt in ["v1.99.0-0-g91d909b", "v1.99.0-dirty", "1.99.0"] {
            let (version, images) = (VERSION.replace("v1.99.0", rebuilt), IMAGES.replace("v1.99.0", rebuilt));
            let parsed = parse(&format!("{version}Variant: Calico Cloud\n"), &images).unwrap();
            assert_eq!((parsed.release().to_string().as_str(), parsed.own_image().tag()), ("v1.99.0", Some(rebuilt)));
            assert_eq!(rebuild_of(&version), Some((rebuilt, parsed.release())));
            assert!(matches!(parse(&version, IMAGES), Err(InvalidOutput::OtherOperator { .. })));
        }
        assert_eq!((rebuild_of(VERSION), build_variant(VERSION)), (None, None));
        assert_eq!(build_variant("Variant: Calico Cloud\n").as_deref(), Some("Calico Cloud"));
    }

    #[test]
    fn both_outputs_may_be_in_one_log() {
        let log = format!("{VERSION}{IMAGES}");
        assert_eq!(parse(&log, &log), parse(VERSION, IMAGES));
    }

    #[test]
    fn a_list_of_many_hosts_or_images_is_rejected() {
        let list = |hosts: usize, images: usize| -> String {
            let line = |number: usize| format!("r{}.example/calico/i{number}:v3.99.0\n", number % hosts);
            (0..images).map(line).collect::<String>() + IMAGES
        };
        for (hosts, images, words) in [(60, 60, "61 registries"), (1, 5_000, "5004 images")] {
            let rejected = parse(VERSION, &list(hosts, images)).unwrap_err().to_string();
            assert!(rejected.contains(words), "{rejected}");
        }
        assert!(parse(VERSION, &list(6, 200)).is_ok());
    }

    #[test]
    fn incomplete_output_is_rejected() {
        let without_own = IMAGES.replace("quay.io/tigera/operator:v1.99.0", "");
        assert_eq!(parse(VERSION, &without_own), Err(InvalidOutput::NoOwnImage));
        assert_eq!(parse(VERSION, ""), Err(InvalidOutput::NoImages));
        assert_eq!(parse("", IMAGES), Err(InvalidOutput::NoVersion("Operator")));
        let calico_only = IMAGES.replace("quay.io/tigera/kibana:v3.98.0-1.0", "");
        assert_eq!(parse(VERSION, &calico_only), Err(InvalidOutput::NoImagesOf("Enterprise")));
        let long = "x\n".repeat(LIMIT);
        assert!(matches!(parse(VERSION, &long), Err(InvalidOutput::TooLong { option: "print-images=list", .. })));
    }

    #[test]
    fn output_of_something_else_is_rejected() {
        let other = VERSION.replace("v1.99.0", "v1.99.1");
        assert!(matches!(parse(&other, IMAGES), Err(InvalidOutput::OtherOperator { .. })));
        let both = format!("{VERSION}{other}");
        assert_eq!(parse(&both, IMAGES), Err(InvalidOutput::SeveralVersions("Operator")));
        let development = VERSION.replace("v1.99.0", "v1.99.0-0.dev-12-gabcdef");
        assert!(matches!(parse(&development, IMAGES), Err(InvalidOutput::Release(_))));
        let spaced = VERSION.replace("v3.98.0-1.0", "a b");
        assert!(matches!(
            parse(VERSION.replace("v3.98.0-1.0", "").as_str(), IMAGES),
            Err(InvalidOutput::ProductVersion { .. })
        ));
        assert!(matches!(parse(&spaced, IMAGES), Err(InvalidOutput::ProductVersion { .. })));
    }

    #[test]
    fn an_invalid_image_is_not_skipped() {
        for line in [
            "quay.io/Calico/typha:v3.99.0",
            "quay.io/calico/typha",
            "quay.io/typha:v3.99.0",
            "quay.io/calico/typha@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            let images = format!("{line}\n{IMAGES}");
            assert_eq!(parse(VERSION, &images), Err(InvalidOutput::NotAnImage(line.to_owned())));
        }
    }
}
