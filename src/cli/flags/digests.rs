//! Digests that people pin in the place of those that a tag has, as `images.digests` of the policy.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;

use crate::cli::output::Failure;
use crate::model::{Digest, ImageName};

/// Digests by image name.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct DigestFlags {
    /// Pin an image to this digest of its repository in the place of that of the release's tag, such as
    /// calico/node=sha256:…; repeatable
    #[arg(long = "digest", value_name = "NAME=DIGEST")]
    digests: Vec<NamedDigest>,
}

/// `calico/node=sha256:…`.
#[derive(Debug, Clone)]
struct NamedDigest {
    name: ImageName,
    digest: Digest,
}

impl FromStr for NamedDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digest) = text.split_once('=').ok_or("write NAME=DIGEST, such as calico/node=sha256:…")?;
        Ok(Self {
            name: name.parse().map_err(|error| format!("{error}"))?,
            digest: digest.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

impl DigestFlags {
    /// Returns the digests by name.
    ///
    /// # Errors
    /// One name has two digests.
    pub fn by_name(&self) -> Result<BTreeMap<ImageName, Digest>, Failure> {
        let mut by_name = BTreeMap::new();
        for NamedDigest { name, digest } in &self.digests {
            if by_name.insert(name.clone(), *digest).is_some_and(|other| other != *digest) {
                return Err(Failure::new(format!("--digest names two digests for {name}")).hint("give the one to pin"));
            }
        }
        Ok(by_name)
    }
}
