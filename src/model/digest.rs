//! The SHA-256 content address of an image. The operator itself accepts anything that starts with `sha256:` and renders it into
//! pods, so a [`Digest`] holds exactly 64 lower-case hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::as_text::as_text;
use crate::model::foreign_text::cut;

/// A content address `sha256:<64 lower-case hexadecimal digits>`, the one algorithm that an ImageSet accepts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// The error for a text that is not `sha256:` followed by 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest of the form sha256:<64 lower-case hexadecimal digits>")]
pub struct InvalidDigest(String);

impl Digest {
    /// Returns the digest of `bytes`. Every pinned digest is computed this way.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns the digest of the bytes that were fed to `hasher`.
    #[must_use]
    pub fn of_stream(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// Returns `sha256:` and the first 12 digits: enough to distinguish digests in a table or a message.
    #[must_use]
    pub const fn short(&self) -> ShortDigest {
        let [a, b, c, d, e, f, ..] = self.0;
        ShortDigest([a, b, c, d, e, f])
    }
}

/// The beginning of a digest, `sha256:` and 12 digits: for display, and enough to find the digest again among those of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShortDigest([u8; 6]);

impl fmt::Display for ShortDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, formatter)
    }
}

impl ShortDigest {
    /// Parses the text of a short digest; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }
}

fn write_hex(bytes: &[u8], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    formatter.write_str("sha256:")?;
    bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
}

/// Parses exactly `LENGTH` bytes of lower-case hexadecimal digits after `sha256:`.
fn parse_hex<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let hexadecimal = text.strip_prefix("sha256:")?;
    if hexadecimal.len() != 2 * LENGTH || !hexadecimal.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; LENGTH];
    for (byte, pair) in bytes.iter_mut().zip(hexadecimal.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, formatter)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text).map(Self).ok_or_else(|| InvalidDigest(cut(text, 100)))
    }
}

as_text!(Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_hash_of_the_bytes_and_parses_back() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.short().to_string(), "sha256:e3b0c44298fc");
        assert_eq!(ShortDigest::parse("sha256:e3b0c44298fc"), Some(digest.short()));
        assert_eq!(ShortDigest::parse(&digest.to_string()), None);
    }

    #[test]
    fn digests_that_no_node_can_pull_are_rejected() {
        let upper = Digest::of(b"").to_string().to_uppercase().replace("SHA256", "sha256");
        for text in ["sha256:nonsense", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:../../etc/passwd", "", &upper] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
