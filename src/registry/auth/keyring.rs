//! Matches credentials with repositories by the kubelet's rules (`pkg/credentialprovider/keyring.go`). Pure.

use super::credentials::Credential;

/// Docker Hub's names: the one in references, the one that `docker login` writes, and the host that serves the images.
pub const DOCKER_HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// A credential and the registry host, with optional path, that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Normalized as the kubelet does it: without scheme and `/v1/`.
    key: String,
    pub credential: Credential,
}

impl Entry {
    pub(crate) fn new(key: &str, credential: Credential) -> Self {
        Self { key: normalized(key), credential }
    }

    /// The kubelet's rule: the same port, as many name parts that each match as a glob, and a path that begins with the key's.
    fn serves(&self, host: &str, repository: &str) -> bool {
        let (key_host, key_path) = self.key.split_once('/').unwrap_or((&self.key, ""));
        let host = canonical_host(host);
        let ((key_name, key_port), (name, port)) = (split_port(key_host), split_port(&host));
        let (key_parts, parts): (Vec<&str>, Vec<&str>) = (key_name.split('.').collect(), name.split('.').collect());
        key_port == port
            && key_parts.len() == parts.len()
            && key_parts.iter().zip(&parts).all(|(glob, part)| glob_matches(glob.as_bytes(), part.as_bytes()))
            && repository.starts_with(key_path)
    }
}

/// Returns the credentials that match a repository, each once. The kubelet tries them in this order: the more specific key first,
/// and equal keys in the order of `entries`.
pub(crate) fn matching<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    host: &str,
    repository: &str,
) -> Vec<&'a Credential> {
    let mut found: Vec<&Entry> = entries.into_iter().filter(|entry| entry.serves(host, repository)).collect();
    // Not by length: the kubelet sorts the texts in reverse, so that a key with a path precedes the host alone, and names
    // precede globs.
    found.sort_by(|one, other| other.key.cmp(&one.key));
    let mut credentials: Vec<&Credential> = Vec::new();
    for Entry { credential, .. } in found {
        if !credentials.contains(&credential) {
            credentials.push(credential);
        }
    }
    credentials
}

/// Returns a key without scheme and API version, as the kubelet keeps it; Docker Hub under its one name. `/v1` is an API version
/// only if a slash follows, and a slash after a path belongs to the path.
fn normalized(key: &str) -> String {
    let key = key.trim();
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = path.strip_prefix("v1/").or_else(|| path.strip_prefix("v2/")).unwrap_or(path);
    let host = canonical_host(host);
    if path.is_empty() { host } else { format!("{host}/{path}") }
}

/// Returns a host in lower case, Docker Hub under its one name.
fn canonical_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if DOCKER_HUB_NAMES.contains(&host.as_str()) { DOCKER_HUB_NAMES[0].to_owned() } else { host }
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (host, ""),
    }
}

/// Matches `*` and `?` within one part of a name, in at most as many steps as the product of both lengths.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut glob_at, mut text_at, mut star) = (0, 0, None);
    while text_at < text.len() {
        match glob.get(glob_at) {
            Some(b'*') => {
                star = Some((glob_at, text_at));
                glob_at += 1;
            }
            Some(b'?') => (glob_at, text_at) = (glob_at + 1, text_at + 1),
            Some(byte) if *byte == text[text_at] => (glob_at, text_at) = (glob_at + 1, text_at + 1),
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (glob_at, text_at) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob[glob_at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::super::docker_config::{DockerConfig, matching};
    use super::*;

    /// A configuration of `(key, user)` pairs.
    fn config(entries: &[(&str, &str)]) -> DockerConfig {
        let entries =
            entries.iter().map(|(key, user)| format!(r#""{key}": {{"username": "{user}", "password": "p"}}"#));
        DockerConfig::parse_dockercfg(format!("{{{}}}", entries.collect::<Vec<_>>().join(",")).as_bytes()).unwrap()
    }

    fn users(configs: &[DockerConfig], host: &str, repository: &str) -> Vec<String> {
        let user = |credential: &Credential| match credential {
            Credential::Password { username, .. } => username.expose().to_owned(),
            _ => String::new(),
        };
        matching(configs, host, repository).into_iter().map(user).collect()
    }

    #[test]
    fn the_longest_match_comes_first_and_all_are_kept_in_order() {
        let one = config(&[
            ("reg.example", "host"),
            ("https://reg.example/v2/calico", "path"),
            ("*.example", "glob"),
            ("reg.example:5000", "port"),
            ("sub.reg.example", "other"),
        ]);
        let both = [one, config(&[("reg.example", "second")])];
        assert_eq!(users(&both, "reg.example", "calico/node"), ["path", "host", "second", "glob"]);
        assert_eq!(users(&both, "reg.example", "tigera/operator"), ["host", "second", "glob"]);
        assert_eq!(users(&both, "reg.example:5000", "calico/node"), ["port"]);
        assert!(users(&both, "a.b.example", "calico/node").is_empty());
        assert!(users(&both, "evil-reg.example.com", "calico/node").is_empty());
    }

    /// The rest of `TestUrlsMatch` and of the sorting of `BasicDockerKeyring.Add`.
    #[test]
    fn keys_are_read_and_sorted_as_the_kubelet_does() {
        let one = [config(&[
            ("*.reg.example/calico/node", "glob"),
            ("a.reg.example", "host"),
            ("a.reg.example/calico/", "folder"),
            ("a.reg.example/v2", "v2"),
        ])];
        assert_eq!(users(&one, "a.reg.example", "calico/node"), ["folder", "host", "glob"]);
        assert_eq!(users(&one, "a.reg.example", "calico-enterprise/node"), ["host"]);
        assert_eq!(users(&one, "a.reg.example", "v2/node"), ["v2", "host"]);
    }

    #[test]
    fn ports_of_ipv6_hosts_are_recognized() {
        let one = [config(&[
            ("[2001:db8::1]:5000", "port"),
            ("https://[2001:DB8::1]:5000/v2/calico", "path"),
            ("[2001:db8::1]", "bare"),
            ("[2001:db8::15]:5000", "other"),
        ])];
        assert_eq!(users(&one, "[2001:db8::1]:5000", "calico/node"), ["path", "port"]);
        assert_eq!(users(&one, "[2001:db8::1]:5000", "x"), ["port"]);
        assert_eq!(users(&one, "[2001:db8::1]", "x"), ["bare"]);
        assert!(users(&one, "[2001:db8::1]:5001", "x").is_empty());
    }

    #[test]
    fn docker_hub_has_one_name() {
        for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io", "docker.io/"]
        {
            for host in DOCKER_HUB_NAMES {
                assert_eq!(users(&[config(&[(key, "u")])], host, "calico/node"), ["u"], "{key} {host}");
            }
        }
    }

    #[test]
    fn globs_match_in_bounded_time() {
        assert!(glob_matches(b"a*b*c", b"axxbxxc") && !glob_matches(b"a*b", b"axx") && glob_matches(b"?", b"x"));
        assert!(glob_matches(b"*", b"") && !glob_matches(b"", b"x"));
        assert!(!glob_matches(&b"*a".repeat(100), &b"b".repeat(10_000)));
    }
}
