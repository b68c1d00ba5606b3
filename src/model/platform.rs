//! Platforms of images and nodes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::as_text::as_text;
use crate::model::foreign_text::{cut, escaped_to};

/// A platform of an OCI image index, and in the same form that of a node. Written `linux/amd64`, or `windows/amd64/10.0.20348`
/// where the Windows build matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    /// `linux` or `windows` (GOOS).
    pub os: String,
    /// `amd64`, `arm64`, … (GOARCH).
    pub architecture: String,
    /// Windows build such as `10.0.20348.2340`; `None` for Linux.
    pub os_version: Option<String>,
    /// CPU variant of an image, such as `v8`. Nodes do not report theirs.
    pub variant: Option<String>,
}

/// The error for a text that is not `os/architecture` or `os/architecture/version`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform such as linux/amd64 or windows/amd64/10.0.20348")]
pub struct InvalidPlatform(String);

impl Platform {
    /// Returns a platform without Windows build or CPU variant.
    #[must_use]
    pub fn new(os: &str, architecture: &str) -> Self {
        Self { os: os.to_owned(), architecture: architecture.to_owned(), os_version: None, variant: None }
    }

    /// Whether this is a Windows platform.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        self.os == "windows"
    }

    /// Whether this is `unknown/unknown`, under which BuildKit lists attestation manifests. Nothing runs on it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// Returns the Linux platforms of which a cluster has several nodes, or all of them in a cluster of two Linux nodes at most. What
    /// one node reports of itself must not decide about all others.
    #[must_use]
    pub fn of_several(nodes: &BTreeMap<Self, u32>) -> Vec<&Self> {
        let linux = || nodes.iter().filter(|(platform, _)| !platform.is_windows());
        let all: u32 = linux().map(|(_, count)| count).sum();
        linux().filter(|(_, count)| **count > 1 || all <= 2).map(|(platform, _)| platform).collect()
    }

    /// Whether a node of platform `node` can run an image of this platform, as containerd decides it. On Windows the builds have to
    /// be compatible; a version that is missing on either side matches any, which is how images for host-process containers are
    /// listed.
    #[must_use]
    pub fn runs_on(&self, node: &Self) -> bool {
        self.os == node.os
            && self.architecture == node.architecture
            && match (&self.os_version, &node.os_version) {
                (Some(image), Some(node)) if self.is_windows() => WindowsBuild::of(node)
                    .is_none_or(|node| WindowsBuild::of(image).is_some_and(|image| image.runs_on(node))),
                _ => true,
            }
    }
}

/// The part of a Windows version that decides whether a host runs a container: `10.0.20348` of `10.0.20348.2340`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WindowsBuild {
    major: u8,
    minor: u8,
    build: u16,
}

/// The build of Windows Server 2022. From it on a host also runs images of builds before its own.
const SERVER_2022: u16 = 20348;
/// The build of Windows Server 2025.
const SERVER_2025: u16 = 26100;

impl WindowsBuild {
    /// Parses a version with at least three parts.
    fn of(version: &str) -> Option<Self> {
        let mut parts = version.split('.');
        let (major, minor, build) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()?, build: build.parse().ok()? })
    }

    /// Whether a host of this build runs an image of this build (containerd: `checkWindowsHostAndContainerCompat` in
    /// `platform_windows_compat.go` of github.com/containerd/platforms v1.0.0): up to Server 2022 its own build only, after it every
    /// build from the last long-term release before the host's on.
    fn runs_on(self, host: Self) -> bool {
        let oldest = match host.build {
            ..SERVER_2022 => host.build,
            SERVER_2022..=SERVER_2025 => SERVER_2022,
            _ => SERVER_2025,
        };
        (self.major, self.minor) == (host.major, host.minor) && (oldest..=host.build).contains(&self.build)
    }
}

/// Platforms for which Kubernetes releases nodes. Operators have images for no others.
const NODE_PLATFORMS: [(&str, &str); 6] = [
    ("linux", "amd64"),
    ("linux", "arm"),
    ("linux", "arm64"),
    ("linux", "ppc64le"),
    ("linux", "s390x"),
    ("windows", "amd64"),
];

/// Maximum length of the quoted report of a node, in bytes.
const LONGEST_REPORT: usize = 64;

/// The platform of a node, from the report of its kubelet. The report is foreign text: a virtual kubelet, a new architecture or a
/// hostile node can report anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodePlatform {
    /// The kubelet has not reported yet.
    Unreported,
    /// One of the platforms for which Kubernetes releases nodes.
    Known(Platform),
    /// Any other report, escaped and cut.
    Unknown(String),
}

impl NodePlatform {
    /// Returns the platform for three values of `status.nodeInfo`. On Windows, images must match the kernel version. A kernel
    /// version that is not a Windows build is left out, and images are then compared by system and architecture.
    #[must_use]
    pub fn of(operating_system: &str, architecture: &str, kernel_version: &str) -> Self {
        if operating_system.is_empty() || architecture.is_empty() {
            return Self::Unreported;
        }
        if !NODE_PLATFORMS.contains(&(operating_system, architecture)) {
            return Self::Unknown(escaped_to(&format!("{operating_system}/{architecture}"), LONGEST_REPORT));
        }
        let mut platform = Platform::new(operating_system, architecture);
        if platform.is_windows() && is_windows_build(kernel_version) {
            platform.os_version = Some(kernel_version.to_owned());
        }
        Self::Known(platform)
    }
}

/// Whether the text is up to four numbers separated by dots, such as `10.0.20348.2340`.
fn is_windows_build(version: &str) -> bool {
    let is_number = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    version.split('.').count() <= 4 && version.split('.').all(is_number)
}

/// A node on a platform for which no images are built.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnknownNode {
    /// Name of the node.
    pub node: String,
    /// Reported platform, escaped and cut.
    pub platform: String,
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        if let Some(part) = self.os_version.as_ref().or(self.variant.as_ref()) {
            write!(formatter, "/{part}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let known = |part: &str| !part.is_empty() && part.len() <= 64 && !part.contains(char::is_whitespace);
        if !parts.iter().all(|part| known(part)) {
            return Err(InvalidPlatform(cut(text, 100)));
        }
        match parts.as_slice() {
            [os, architecture] => Ok(Self::new(os, architecture)),
            ["windows", architecture, version] => {
                Ok(Self { os_version: Some((*version).to_owned()), ..Self::new("windows", architecture) })
            }
            [os, architecture, variant] => {
                Ok(Self { variant: Some((*variant).to_owned()), ..Self::new(os, architecture) })
            }
            _ => Err(InvalidPlatform(cut(text, 100))),
        }
    }
}

as_text!(Platform);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_windows_node_runs_the_builds_that_containerd_pulls_for_it() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let runs = |image: &str, host: &str| {
            let windows = |build: &str| platform(&format!("windows/amd64/{build}"));
            windows(image).runs_on(&windows(host))
        };
        // Server 2019 and everything before Server 2022: the same build, whatever the patch level.
        assert!(runs("10.0.17763.5329", "10.0.17763.2114") && runs("10.0.14393.1", "10.0.14393"));
        assert!(!runs("10.0.17763.1", "10.0.18362.1") && !runs("10.0.17763.1", "10.0.17134.1"));
        // Later hosts: Server 2022, the annual channel, Server 2025 and what follows it.
        for (image, host, fits) in [
            ("10.0.20348.1", "10.0.20348.2340", true),
            ("10.0.17763.1", "10.0.20348.2340", false),
            ("10.0.20348.1", "10.0.25398.1", true),
            ("10.0.20348.1", "10.0.26100.1742", true),
            ("10.0.25398.1", "10.0.26100.1742", true),
            ("10.0.17763.1", "10.0.26100.1742", false),
            ("10.0.26100.1", "10.0.25398.1", false),
            ("10.0.26100.1", "10.0.27000.1", true),
            ("10.0.20348.1", "10.0.27000.1", false),
            ("11.0.20348.1", "10.0.20348.1", false),
        ] {
            assert_eq!(runs(image, host), fits, "{image} on {host}");
        }
        // An image without a version is for every build, and a host without one takes any; a malformed version of an image fits none.
        assert!(platform("windows/amd64").runs_on(&platform("windows/amd64/10.0.26100.1742")));
        assert!(platform("windows/amd64/10.0.17763.1").runs_on(&platform("windows/amd64")));
        assert!(!runs("10.0", "10.0.17763.1") && runs("10.0.17763.1", "10.0"));
        assert!(platform("linux/arm64/v8").runs_on(&platform("linux/arm64")));
        assert!(!platform("linux/arm64").runs_on(&platform("linux/amd64")));
    }

    #[test]
    fn a_platform_parses_back_from_its_text() {
        for text in ["linux/amd64", "linux/arm64/v8", "windows/amd64/10.0.20348.2340"] {
            assert_eq!(text.parse::<Platform>().map(|platform| platform.to_string()), Ok(text.to_owned()));
        }
        assert!("linux".parse::<Platform>().is_err());
    }

    #[test]
    fn a_reported_platform_is_known_or_unknown() {
        let known = |text: &str| NodePlatform::Known(text.parse().unwrap());
        assert_eq!(NodePlatform::of("linux", "arm64", "6.1"), known("linux/arm64"));
        assert_eq!(NodePlatform::of("windows", "amd64", "10.0.20348.2340"), known("windows/amd64/10.0.20348.2340"));
        for odd in ["", "10.0.20348 \u{1b}[31m", "10.0.20348.1.2", "a", &"1".repeat(200)] {
            assert_eq!(
                NodePlatform::of("windows", "amd64", odd),
                NodePlatform::Known(Platform::new("windows", "amd64"))
            );
        }
        assert_eq!(NodePlatform::of("", "", ""), NodePlatform::Unreported);
        for (system, architecture) in
            [("linux", "wasm-wasi"), ("Linux", "amd64"), ("linux", "amd64\n::error::x"), ("\u{1b}]0;a", "amd64")]
        {
            let NodePlatform::Unknown(reported) = NodePlatform::of(system, architecture, "") else {
                panic!("{system}")
            };
            assert!(reported.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{reported:?}");
        }
        let NodePlatform::Unknown(reported) = NodePlatform::of("linux", &"x".repeat(100 * 1024), "") else { panic!() };
        assert!(reported.len() <= LONGEST_REPORT, "{}", reported.len());
    }
}
