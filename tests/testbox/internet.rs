//! The registries that documents name (`quay.io`, `registry.example.com`, …) as one registry of the box behind a proxy that leads all
//! names to it, with a certificate for all of them. So that examples can be run as they are printed, without a network.
//! Every name serves the same repositories.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::registry::{Kind, Registry};
use super::rules::{OperatorRules, Variant, key};
use super::{ControlPlane, images};

/// All that is ever asked for.
const NAMES: [&str; 7] = [
    "127.0.0.1",
    "quay.io",
    "docker.io",
    "registry-1.docker.io",
    "registry.example.com",
    "mirror.example.com",
    "travel.example.com",
];

/// The registries of the world; gone on drop.
#[derive(Debug)]
pub struct Internet {
    registry: Registry,
    proxy: String,
    authority: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Internet {
    /// Starts it with the Calico images of these releases and their operators, FIPS twins included: each in its own repository, and
    /// once more under each of these paths.
    ///
    /// # Errors
    /// Something does not start, or the registry refuses an image.
    pub async fn start(control_plane: &ControlPlane, releases: &[&str], paths: &[&str]) -> Result<Self> {
        let registry = Registry::start_tls_as(Kind::Anonymous, &NAMES).await?;
        let access = registry.access()?;
        let mut references = BTreeSet::new();
        for release in releases {
            let rules = OperatorRules::for_version(release)?;
            for name in rules.names_of(Variant::Calico) {
                references.extend(
                    [false, true].into_iter().filter_map(|fips| rules.default_reference(Variant::Calico, &name, fips)),
                );
            }
            references.insert(format!("quay.io/tigera/operator:{release}"));
        }
        let references: Vec<String> = references.into_iter().collect();
        images::push_release(&access, &references, None).await?;
        for path in paths {
            let under = |reference: &str| {
                let key = key(reference);
                format!("{path}/{}", key.rsplit_once('/').map_or(key.as_str(), |(_, last)| last))
            };
            images::push_release(&access, &references, Some(&under)).await?;
        }
        let authority = control_plane.logs().join("internet-ca.pem");
        std::fs::write(&authority, registry.ca_pem().context("it speaks TLS")?)?;
        let target = registry.host();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            // Owned by this task, so that its end ends the connections as well.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let target = target.clone();
                // Whoever asked sees it as a connection that ends.
                connections.spawn(async move { lead(stream, &target).await.ok() });
            }
        });
        Ok(Self { registry, proxy, authority, task })
    }

    /// What a program needs to get there.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("HTTPS_PROXY", self.proxy.clone()),
            ("NO_PROXY", "127.0.0.1".to_owned()),
            ("SSL_CERT_FILE", self.authority.display().to_string()),
        ]
    }

    /// The authority that signs for everybody.
    pub fn authority(&self) -> &Path {
        &self.authority
    }
}

/// A tunnel to the one server, whatever name was asked for.
async fn lead(stream: TcpStream, target: &str) -> Result<()> {
    let mut client = BufStream::new(stream);
    let mut line = String::new();
    while client.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let mut server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    client.flush().await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
