//! Docker's credential helpers: programs named in its configuration that print the credentials of one registry, run as docker, crane,
//! skopeo and oras run them. Their output may be a secret, and is never shown.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::cli::output::note;
use crate::registry::{DOCKER_HUB_NAMES, DockerConfig, Secret};

/// The longest that one of them may run.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two checks whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The longest output that is read, in bytes.
const MAX_OUTPUT: u64 = 64 * 1024;
/// The output of a helper that works and has no credentials for the registry.
const NOT_FOUND: &[u8] = b"credentials not found";
/// Under this name Docker keeps the credentials of its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// The user that stands for an identity token.
const TOKEN_USER: &str = "<token>";

/// Which helper is for which registry, with the credentials that they have printed.
#[derive(Default)]
pub(in crate::cli) struct CredentialHelpers {
    store: Option<String>,
    /// An empty name stands for none, also where there is a store.
    by_host: BTreeMap<String, String>,
    printed: RefCell<BTreeMap<String, Option<DockerConfig>>>,
}

/// The fields of a configuration that name helpers. What is no text names none.
#[derive(Default, Deserialize)]
struct NamedHelpers {
    #[serde(default, rename = "credsStore")]
    store: serde_json::Value,
    #[serde(default, rename = "credHelpers")]
    by_host: serde_json::Value,
}

/// The output of a helper.
#[derive(Deserialize)]
struct HelperOutput {
    #[serde(rename = "Username")]
    username: Secret,
    #[serde(rename = "Secret")]
    secret: Secret,
}

impl CredentialHelpers {
    /// Returns those of a configuration; none if it is invalid, which is reported elsewhere.
    pub fn of(text: &[u8]) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let named: NamedHelpers = serde_json::from_slice(text).unwrap_or_default();
        let name = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let by_host = named.by_host.as_object().into_iter().flatten();
        Self {
            store: name(&named.store).filter(|name| !name.is_empty()),
            by_host: by_host.filter_map(|(host, value)| Some((host.clone(), name(value)?))).collect(),
            printed: RefCell::default(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.store.is_none() && self.by_host.values().all(String::is_empty)
    }

    /// Whether there is a helper for a registry.
    pub fn has_helper_for(&self, host: &str) -> bool {
        self.helper(&[host]).is_some()
    }

    /// Returns the helper for a registry with these names.
    fn helper(&self, names: &[&str]) -> Option<&str> {
        let own = names.iter().find_map(|name| self.by_host.get(*name));
        own.or(self.store.as_ref()).map(String::as_str).filter(|helper| !helper.is_empty())
    }

    /// Returns the credentials for a registry. Its helper runs once; if it fails, that is noted, and there are none.
    pub fn credentials(&self, host: &str) -> Option<DockerConfig> {
        let is_hub = DOCKER_HUB_NAMES.contains(&host);
        let names = if is_hub { [&[DOCKER_HUB][..], &DOCKER_HUB_NAMES].concat() } else { vec![host] };
        let helper = self.helper(&names)?;
        if let Some(printed) = self.printed.borrow().get(host) {
            return printed.clone();
        }
        let output = run(helper, names[0]).unwrap_or_else(|why| {
            note(&format!("note: credential helper {helper:?} {why}; {host} is asked without credentials"));
            None
        });
        let credentials = output.map(|HelperOutput { username, secret }| match username.expose() {
            TOKEN_USER => DockerConfig::of_identity_token(host, secret),
            username => DockerConfig::of_password(host, username, secret.expose()),
        });
        self.printed.borrow_mut().insert(host.to_owned(), credentials.clone());
        credentials
    }
}

/// Runs `docker-credential-NAME get` with the registry on its standard input. The error never quotes its output.
fn run(helper: &str, server: &str) -> Result<Option<HelperOutput>, &'static str> {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if helper.is_empty() || !helper.bytes().all(is_name) {
        return Err("has a name that no helper has");
    }
    let mut command = Command::new(format!("docker-credential-{helper}"));
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|_| "cannot be run: docker-credential-… is not in PATH")?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (sender, printed) = mpsc::channel();
    let server = server.to_owned();
    // A thread of its own: a child of the helper may hold the output open for longer than the helper runs.
    std::thread::spawn(move || {
        // A helper that needs no name does not read it.
        let _ = stdin.map(|mut stdin| stdin.write_all(server.as_bytes()));
        let mut bytes = Zeroizing::new(Vec::new());
        let read = stdout.map(|stdout| stdout.take(MAX_OUTPUT).read_to_end(&mut bytes));
        let _ = sender.send(read.and_then(Result::ok).map(|_| bytes));
    });
    let deadline = Instant::now() + DEADLINE;
    let succeeded = wait(&mut child, deadline).ok_or("did not answer in time")?;
    let left = deadline.saturating_duration_since(Instant::now());
    let bytes = printed.recv_timeout(left).ok().flatten().ok_or("did not answer in time")?;
    match succeeded {
        true => serde_json::from_slice(&bytes).map(Some).map_err(|_| "did not print what a helper prints"),
        false if bytes.starts_with(NOT_FOUND) => Ok(None),
        false => Err("failed"),
    }
}

/// Waits for the end of a process, and returns whether it succeeded; `None` where it had to be killed.
fn wait(child: &mut Child, deadline: Instant) -> Option<bool> {
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.success());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
    None
}
