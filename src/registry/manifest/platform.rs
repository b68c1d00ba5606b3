//! The platforms that manifests may name.

use super::invalid_quoting;
use crate::model::Platform;
use crate::registry::error::Result;

/// Go's operating systems (`go tool dist list`).
const SYSTEMS: &str =
    "aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris wasip1 windows";
/// Go's processors.
const ARCHITECTURES: &str = "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm";
/// Variants of processors that are not numbered (`v7`, `v8.1`).
const VARIANTS: &str = "hardfloat power10 power8 power9 rva20u64 rva22u64 rva23u64 softfloat";

/// Returns a platform. Parts that could not be written and read back are rejected.
pub(super) fn parse_platform(
    os: &str,
    architecture: &str,
    os_version: Option<&str>,
    variant: Option<&str>,
) -> Result<Platform> {
    let part = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
            let unquoted = "a platform part with characters that none has";
            return Err(invalid_quoting(unquoted, &format!("a platform part {text:?}")));
        }
        Ok(text.to_owned())
    };
    let optional = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(part).transpose();
    let mut platform = Platform::new(&part(os)?, &part(architecture)?);
    if platform.is_windows() {
        platform.os_version = optional(os_version)?;
    } else {
        platform.variant = optional(variant)?;
    }
    Ok(platform)
}

/// Whether Go knows this platform. Messages name platforms: a closed list leaves no room for text that the registry chose, such as a
/// credential.
pub(super) fn is_built_for(platform: &Platform) -> bool {
    let is_listed = |list: &str, part: &str| list.split(' ').any(|listed| listed == part);
    let plain_variant = |variant: &str| {
        let is_digit = |text: &str| text.len() == 1 && text.bytes().all(|byte| byte.is_ascii_digit());
        let (major, minor) = variant.strip_prefix('v').map_or(("", None), |version| match version.split_once('.') {
            Some((major, minor)) => (major, Some(minor)),
            None => (version, None),
        });
        is_listed(VARIANTS, variant) || (is_digit(major) && minor.is_none_or(is_digit))
    };
    let plain_build =
        |build: &str| build.len() <= 24 && build.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_listed(SYSTEMS, &platform.os)
        && is_listed(ARCHITECTURES, &platform.architecture)
        && platform.variant.as_deref().is_none_or(plain_variant)
        && platform.os_version.as_deref().is_none_or(plain_build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_reads_back_as_it_was_written() {
        let platform = parse_platform("linux", "arm64", Some("6.1"), Some("v8")).unwrap();
        assert_eq!(platform.to_string().parse(), Ok(platform));
    }
}
