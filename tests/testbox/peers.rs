//! How others find a digest: `crane digest` and `skopeo inspect`, run as their users run them, one process an image.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;

use super::process::tools_folder;
use super::registry_client::digest_of;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// `crane digest`.
    Crane,
    /// `skopeo inspect --format {{.Digest}}`; where there is no skopeo, the same on its library (tests/peers/main.go).
    Skopeo,
    /// `skopeo inspect --raw`, and the SHA-256 of that: what those do who wish for few requests.
    SkopeoRaw,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Crane, Self::Skopeo, Self::SkopeoRaw];
}

/// Both, set up for one registry: a docker config file and an authority in a temporary folder, and nothing of this machine's.
#[derive(Debug)]
pub struct Peers {
    tools: PathBuf,
    folder: TempDir,
    tls: bool,
}

impl Peers {
    /// `docker_config_json` holds the credentials; without an authority to trust plain HTTP is spoken.
    ///
    /// # Errors
    /// The tools can't be built; the message is on standard error already.
    pub async fn new(docker_config_json: &str, ca_pem: Option<&str>) -> Result<Self> {
        let folder = TempDir::new()?;
        std::fs::write(folder.path().join("config.json"), docker_config_json)?;
        std::fs::create_dir(folder.path().join("authorities"))?;
        std::fs::write(folder.path().join("authorities/ca.crt"), ca_pem.unwrap_or_default())?;
        Ok(Self { tools: tools_folder().await?, folder, tls: ca_pem.is_some() })
    }

    /// What `peer` says that the digest of a reference is. `os` is that of the image that skopeo inspects beside the digest.
    ///
    /// # Errors
    /// It fails; the message has what it said.
    pub async fn digest(&self, peer: Peer, reference: &str, os: &str) -> Result<String> {
        let mut command = match peer {
            Peer::Crane => self.crane(reference),
            Peer::Skopeo => self.skopeo(reference, "--format={{.Digest}}", os),
            Peer::SkopeoRaw => self.skopeo(reference, "--raw", os),
        };
        let home = self.folder.path();
        command.env_clear().env("HOME", home).env("XDG_RUNTIME_DIR", home).env("DOCKER_CONFIG", home);
        if self.tls {
            command.env("SSL_CERT_FILE", home.join("authorities/ca.crt"));
        }
        let output = command.kill_on_drop(true).output().await.with_context(|| format!("can't start {peer:?}"))?;
        if !output.status.success() {
            bail!("{peer:?} of {reference} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        match peer {
            Peer::SkopeoRaw => Ok(digest_of(&output.stdout)),
            Peer::Crane | Peer::Skopeo => Ok(String::from_utf8(output.stdout)?.trim().to_owned()),
        }
    }

    fn crane(&self, reference: &str) -> Command {
        let mut command = Command::new(self.tools.join("crane"));
        command.args(["digest", reference]);
        if !self.tls {
            command.arg("--insecure");
        }
        command
    }

    fn skopeo(&self, reference: &str, wanted: &str, os: &str) -> Command {
        let real = self.tools.join("skopeo");
        let mut command = Command::new(if real.exists() { real } else { self.tools.join("skopeo-library") });
        command.args([&format!("--override-os={os}"), "inspect", wanted]);
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        command.arg(flag("authfile", &self.folder.path().join("config.json")));
        if self.tls {
            command.arg(flag("cert-dir", &self.folder.path().join("authorities")));
        } else {
            command.arg("--tls-verify=false");
        }
        command.arg(format!("docker://{reference}"));
        command
    }
}
