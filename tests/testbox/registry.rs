//! Real image registries (distribution v3): anonymous, with a password file, or with tokens; plain HTTP or TLS by a
//! private authority. The contents are on disk, so that a registry can go down and come back with them.

use super::certificates::ServerCertificate;
use super::process::{Folders, Process, controlplane_binary, free_port, start_on_free_ports};
use super::registry_client::Access;
use super::token_service::{ISSUER, SERVICE, TokenService};
use anyhow::{Context, Result, bail};
use base64::Engine as _;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a registry asks who you are.
#[derive(Clone, Debug)]
pub enum Kind {
    /// It doesn't.
    Anonymous,
    /// Basic authentication for everything.
    Htpasswd { user: String, password: String },
    /// Bearer tokens of a [`TokenService`] on another port.
    Token { user: String, password: String, anonymous_pull: bool },
}

/// One request that the registry answered. Recorded before the answer leaves, so that none is missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// Path and query, such as `/v2/calico/node/manifests/v3.32.1`.
    pub path: String,
    /// The answer's status.
    pub status: u16,
    /// `Basic`, `Bearer`, or `-` for a request without credentials.
    pub authorization: String,
}

/// A running registry; killed on drop, with its contents.
#[derive(Debug)]
pub struct Registry {
    process: Option<Process>,
    name: &'static str,
    port: u16,
    kind: Kind,
    certificate: Option<ServerCertificate>,
    token_service: Option<TokenService>,
    configuration: PathBuf,
    folders: Folders,
}

impl Registry {
    /// Plain HTTP on a free loopback port.
    ///
    /// # Errors
    /// The binary can't be built, or the registry does not listen; the message has the end of its log.
    pub async fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, None, "127.0.0.1").await
    }

    /// HTTPS by a private authority of its own, see [`Self::ca_pem`]; the token service of [`Kind::Token`] too.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_tls(kind: Kind) -> Result<Self> {
        Self::start_with(kind, Some(ServerCertificate::create("testbox registry")?), "127.0.0.1").await
    }

    /// The same, with a certificate for these names.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_tls_as(kind: Kind, names: &[&str]) -> Result<Self> {
        let certificate = ServerCertificate::create_with("testbox registry", names, |_| {})?;
        Self::start_with(kind, Some(certificate), "127.0.0.1").await
    }

    /// Either, under the name `localhost`, the token service too: crane takes no token service at a private IP address.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_as_localhost(kind: Kind, tls: bool) -> Result<Self> {
        let certificate = if tls { Some(ServerCertificate::create("testbox registry")?) } else { None };
        Self::start_with(kind, certificate, "localhost").await
    }

    async fn start_with(kind: Kind, certificate: Option<ServerCertificate>, name: &'static str) -> Result<Self> {
        start_on_free_ports(|| Self::start_once(kind.clone(), certificate.clone(), name)).await
    }

    async fn start_once(kind: Kind, certificate: Option<ServerCertificate>, name: &'static str) -> Result<Self> {
        let folders = Folders::create("registry")?;
        let port = free_port()?;
        let mut token_service = None;
        let auth = match &kind {
            Kind::Anonymous => json!({}),
            Kind::Htpasswd { user, password } => {
                let file = folders.write("htpasswd", htpasswd_line(user, password).await?)?;
                json!({"htpasswd": {"realm": "testbox", "path": file}})
            }
            Kind::Token { user, password, anonymous_pull } => {
                let service = TokenService::start(user, password, *anonymous_pull, certificate.as_ref(), name).await?;
                let jwks = folders.write("jwks.json", service.jwks())?;
                let realm = service.realm().to_owned();
                token_service = Some(service);
                json!({"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "jwks": jwks, "signingalgorithms": ["EdDSA"]}})
            }
        };
        let mut http = json!({"addr": format!("127.0.0.1:{port}"), "secret": "testbox"});
        if let Some(certificate) = &certificate {
            http["tls"] = json!({
                "certificate": folders.write("registry.crt", &certificate.certificate_pem)?,
                "key": folders.write("registry.key", &certificate.key_pem)?,
            });
        }
        let mut configuration = json!({
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": true}},
            "storage": {
                "filesystem": {"rootdirectory": folders.data.join("contents")},
                "delete": {"enabled": true},
                "maintenance": {"uploadpurging": {"enabled": false}},
            },
            "http": http,
        });
        if !matches!(kind, Kind::Anonymous) {
            configuration["auth"] = auth;
        }
        // JSON is YAML.
        let configuration = folders.write("registry.yaml", configuration.to_string())?;
        let mut registry = Self { process: None, name, port, kind, certificate, token_service, configuration, folders };
        registry.start_again().await?;
        Ok(registry)
    }

    /// Starts it after [`Self::stop`], with the same port and contents. Returns when it listens.
    ///
    /// # Errors
    /// It does not listen, for example because another process took the port meanwhile.
    pub async fn start_again(&mut self) -> Result<()> {
        let mut command = Command::new(controlplane_binary().await?);
        command
            .args(["registry", "serve"])
            .arg(&self.configuration)
            .env("TESTBOX_REQUESTS", self.requests_file())
            .env("OTEL_TRACES_EXPORTER", "none");
        let mut process = Process::spawn("registry", command, &self.folders.logs.join("registry.log"))?;
        // A connection only: a request would be counted.
        let port = self.port;
        process
            .wait_until_ready(|| async move { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it, to play an outage: connections are refused. The token service goes on
    /// (see [`TokenService::fail_with`]).
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// `127.0.0.1:PORT`, or `localhost:PORT` after [`Self::start_as_localhost`].
    pub fn host(&self) -> String {
        format!("{}:{}", self.name, self.port)
    }

    /// The authority that a client has to trust; none for plain HTTP.
    pub fn ca_pem(&self) -> Option<&str> {
        self.certificate.as_ref().map(|certificate| certificate.authority_pem.as_str())
    }

    /// User and password; none for an anonymous registry.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        match &self.kind {
            Kind::Anonymous => None,
            Kind::Htpasswd { user, password } | Kind::Token { user, password, .. } => Some((user, password)),
        }
    }

    /// What a Secret of type `kubernetes.io/dockerconfigjson` holds for this registry.
    pub fn docker_config_json(&self) -> String {
        let Some((user, password)) = self.credentials() else {
            return json!({"auths": {}}).to_string();
        };
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        json!({"auths": {self.host(): {"username": user, "password": password, "auth": auth}}}).to_string()
    }

    /// A client with all rights, for [`super::images`].
    ///
    /// # Errors
    /// The certificate can't be read.
    pub fn access(&self) -> Result<Access> {
        Access::new(&self.host(), self.ca_pem(), self.credentials())
    }

    /// The token service of [`Kind::Token`].
    pub fn token_service(&self) -> Option<&TokenService> {
        self.token_service.as_ref()
    }

    /// All requests since the start or [`Self::forget_requests`], pushes of the test included.
    ///
    /// # Errors
    /// The record can't be read.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let text = match std::fs::read_to_string(self.requests_file()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        text.lines().map(parse_request).collect()
    }

    /// Empties the record of [`Self::requests`].
    ///
    /// # Errors
    /// The record can't be emptied.
    pub fn forget_requests(&self) -> Result<()> {
        // The registry appends, so it goes on at the new end.
        match std::fs::File::options().write(true).open(self.requests_file()) {
            Ok(file) => Ok(file.set_len(0)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The process id while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Where the log file is.
    pub fn logs(&self) -> &Path {
        &self.folders.logs
    }

    fn requests_file(&self) -> PathBuf {
        self.folders.logs.join("requests.log")
    }
}

fn parse_request(line: &str) -> Result<Request> {
    let parts: Vec<&str> = line.split('\t').collect();
    let [method, path, status, authorization] = parts[..] else { bail!("not a request record: {line}") };
    Ok(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        status: status.parse().context("not a status")?,
        authorization: authorization.to_owned(),
    })
}

/// The registry reads bcrypt hashes only; our binary makes them.
async fn htpasswd_line(user: &str, password: &str) -> Result<Vec<u8>> {
    let output = Command::new(controlplane_binary().await?).args(["htpasswd", user, password]).output()?;
    if !output.status.success() {
        bail!("no htpasswd line: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}
