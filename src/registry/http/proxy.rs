//! The proxies that the environment names, and which target is reached through which. Never shows a proxy's user or password, and
//! never bypasses a proxy that cannot be used. Pure except for reading the environment once.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, Uri, header};
use hyper_util::client::proxy::matcher::Matcher;
use zeroize::Zeroizing;

use super::address::AddressClass;
use crate::model::RegistryFailureKind;
use crate::registry::auth::credentials::Secret;
use crate::registry::error::{RegistryError, Result};

/// Proxy settings, by the rules that curl and Go share. `HTTPS_PROXY` is for targets with TLS, `HTTP_PROXY` for those without, and
/// `ALL_PROXY` replaces either if it is not set; each in upper or lower case, and an empty value counts as not set. `NO_PROXY` lists
/// what is reached directly: hosts, domains with all names below them, addresses (each with an optional `:port`), networks
/// (`10.0.0.0/8`), or `*`. `localhost` and loopback addresses are always reached directly, as in Go. `Debug` shows no user or
/// password.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    https: Option<Variable>,
    http: Option<Variable>,
    direct: Vec<Exception>,
}

/// A variable that is set.
#[derive(Debug, Clone)]
struct Variable(Result<Arc<Proxy>>);

/// One proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    variable: &'static str,
    /// `http://host:port/` or `https://host:port/`, without user and password.
    pub address: Uri,
    /// The value of `Proxy-Authorization`, marked sensitive.
    pub authorization: Option<HeaderValue>,
}

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone)]
struct Exception {
    host: String,
    port: Option<u16>,
}

impl Proxies {
    /// Returns the settings of this process's environment.
    #[must_use]
    pub fn of_environment() -> Self {
        Self::of_variables(|name| std::env::var_os(name))
    }

    /// Returns the settings of these variables. A variable that names no usable proxy fails when a registry would be reached through it.
    #[must_use]
    pub fn of_variables(value: impl Fn(&str) -> Option<OsString>) -> Self {
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| value(name).filter(|value| !value.is_empty()).map(|value| (name, value)))
        };
        let all = first(["ALL_PROXY", "all_proxy"]);
        let variable = |names| first(names).or_else(|| all.clone()).map(|(name, value)| Variable(proxy(name, value)));
        let direct = first(["NO_PROXY", "no_proxy"]).map(|(_, value)| value).unwrap_or_default();
        let separators = |character: char| character == ',' || character.is_whitespace();
        let entries = direct.to_string_lossy();
        Self {
            https: variable(["HTTPS_PROXY", "https_proxy"]),
            http: variable(["HTTP_PROXY", "http_proxy"]),
            direct: entries.split(separators).filter(|entry| !entry.is_empty()).map(exception).collect(),
        }
    }

    /// Returns one proxy for all targets except loopback addresses. `name` is its origin in messages.
    #[must_use]
    pub fn only(name: &'static str, value: &str) -> Self {
        let variable = Variable(proxy(name, value.into()));
        Self { https: Some(variable.clone()), http: Some(variable), direct: Vec::new() }
    }

    /// Returns the proxy for a target; `None` if it is reached directly.
    pub(crate) fn to(&self, target: &Uri) -> Result<Option<&Arc<Proxy>>> {
        let (variable, port) = match target.scheme_str() {
            Some("https") => (&self.https, 443),
            _ => (&self.http, 80),
        };
        let (Some(Variable(proxy)), Some(host)) = (variable, target.host()) else { return Ok(None) };
        if is_this_machine(host) || self.is_excepted(target, target.port_u16().unwrap_or(port)) {
            return Ok(None);
        }
        proxy.as_ref().map(Some).map_err(RegistryError::clone)
    }

    fn is_excepted(&self, target: &Uri, port: u16) -> bool {
        let here = |exception: &&Exception| exception.port.is_none_or(|own| own == port);
        let hosts: Vec<&str> = self.direct.iter().filter(here).map(|exception| exception.host.as_str()).collect();
        // hyper-util's matcher supports domains and networks, but no ports.
        Matcher::builder().all("http://proxy").no(hosts.join(",")).build().intercept(target).is_none()
    }

    /// Adds the proxy's credentials to a request that is itself sent to a proxy: to registries without TLS.
    pub(crate) fn authorize<B>(&self, request: &mut Request<B>) {
        if request.uri().scheme_str() == Some("http")
            && let Ok(Some(proxy)) = self.to(request.uri())
            && let Some(authorization) = &proxy.authorization
        {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
    }

    /// Returns every text that must never be written anywhere.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        self.usable().filter_map(|proxy| proxy.authorization.as_ref()).flat_map(secrets).collect()
    }

    /// Whether one of the proxies is itself reached by TLS.
    pub(crate) fn any_uses_tls(&self) -> bool {
        self.usable().any(Proxy::uses_tls)
    }

    fn usable(&self) -> impl Iterator<Item = &Proxy> {
        [&self.https, &self.http].into_iter().flatten().filter_map(|Variable(proxy)| proxy.as_deref().ok())
    }
}

impl Proxy {
    /// Whether the proxy is itself reached by TLS.
    pub(crate) fn uses_tls(&self) -> bool {
        self.address.scheme_str() == Some("https")
    }

    /// Returns the failure that an error status of the proxy stands for.
    pub(crate) fn rejection(&self, status: u16, target: &str) -> RegistryError {
        let advice = match status {
            407 => format!("; {} needs the user and password that it takes", self.variable),
            _ => String::new(),
        };
        unreachable_target(target, |target| format!("{self} answered {status} for {target}{advice}"))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.address.scheme_str(), self.address.authority());
        let authority = authority.map(http::uri::Authority::as_str).unwrap_or_default();
        write!(formatter, "the proxy {}://{authority} of {}", scheme.unwrap_or_default(), self.variable)
    }
}

/// Returns the failure of this machine's settings or network.
pub(crate) fn unreachable(message: String) -> RegistryError {
    RegistryError::new(RegistryFailureKind::Unreachable, message)
}

/// Returns the failure on the way to a target. `message` names the target, which may be a host that a registry chose.
pub(crate) fn unreachable_target(target: &str, message: impl Fn(&str) -> String) -> RegistryError {
    RegistryError::quoting(RegistryFailureKind::Unreachable, message("a registry"), &message(target))
}

/// Parses a variable's value. Errors do not quote it: it may contain a password.
fn proxy(variable: &'static str, value: OsString) -> Result<Arc<Proxy>> {
    let unusable = || unreachable(format!("{variable} is not the address of a proxy: http://HOST:PORT or https://…"));
    let value = Zeroizing::new(value.into_string().map_err(|_| unusable())?);
    let matcher = Matcher::builder().all(value.trim()).build();
    let found = matcher.intercept(&Uri::from_static("http://registry.invalid/")).ok_or_else(unusable)?;
    let scheme = found.uri().scheme_str().unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return Err(unreachable(format!(
            "{variable} names a {scheme} proxy; http:// and https:// are understood here"
        )));
    }
    // A second @ would leave part of the password in the host.
    let plain = |authority: &http::uri::Authority| !authority.host().is_empty() && !authority.as_str().contains('@');
    if !found.uri().authority().is_some_and(plain) {
        return Err(unusable());
    }
    Ok(Arc::new(Proxy { variable, address: found.uri().clone(), authorization: found.basic_auth().cloned() }))
}

/// Parses an entry of `NO_PROXY`: `host`, `host:port`, `[address]:port`. A bare IPv6 address contains colons as well.
fn exception(entry: &str) -> Exception {
    let with_port = entry.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let with_port = with_port.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = with_port.map_or((entry, None), |(host, port)| (host, Some(port)));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.starts_with("*.") { &host[1..] } else { host };
    Exception { host: host.to_owned(), port }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    address.map_or_else(|_| host == "localhost", |address| AddressClass::of(address) == AddressClass::Loopback)
}

/// Returns the base64 of the header and the password in it.
fn secrets(authorization: &HeaderValue) -> Vec<Secret> {
    let encoded = authorization.to_str().ok().and_then(|text| text.strip_prefix("Basic ")).unwrap_or_default();
    let pair = Zeroizing::new(STANDARD.decode(encoded).unwrap_or_default());
    let pair = Zeroizing::new(String::from_utf8_lossy(&pair).into_owned());
    let password = pair.split_once(':').map(|(_, password)| password).filter(|password| !password.is_empty());
    [Some(encoded), password].into_iter().flatten().map(|text| Secret::new(text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::of_variables(|name| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn through(variables: &[(&str, &str)], target: &str) -> Option<String> {
        proxies(variables).to(&target.parse().unwrap()).unwrap().map(|proxy| proxy.address.to_string())
    }

    #[test]
    fn exceptions_are_hosts_domains_addresses_and_networks_with_ports() {
        for (exceptions, target, direct) in [
            ("", "https://quay.io/", false),
            ("*", "https://quay.io/", true),
            ("quay.io", "https://quay.io/", true),
            ("quay.io", "https://cdn01.quay.io/", true),
            (".quay.io", "https://cdn01.quay.io/", true),
            ("*.quay.io", "https://cdn01.quay.io/", true),
            ("QUAY.io", "https://quay.io/", true),
            ("quay.io", "https://notquay.io/", false),
            ("quay.io:443", "https://quay.io/", true),
            ("quay.io:80", "https://quay.io/", false),
            ("quay.io:8443", "https://quay.io:8443/", true),
            ("quay.io:word", "https://quay.io/", false),
            ("a.example, quay.io", "https://quay.io/", true),
            ("a.example quay.io", "https://quay.io/", true),
            ("10.1.2.3", "https://10.1.2.3:5000/", true),
            ("10.1.2.3:5000", "https://10.1.2.3:5000/", true),
            ("10.1.2.3:5001", "https://10.1.2.3:5000/", false),
            ("10.0.0.0/8", "https://10.1.2.3:5000/", true),
            ("10.0.0.0/8", "https://11.1.2.3:5000/", false),
            ("fd00::/8", "https://[fd00::1]:5000/", true),
            ("fd00::1", "https://[fd00::1]:5000/", true),
            ("[fd00::1]:5000", "https://[fd00::1]:5000/", true),
            ("[fd00::1]:5001", "https://[fd00::1]:5000/", false),
        ] {
            let variables = [("HTTPS_PROXY", "proxy.example:3128"), ("no_proxy", exceptions)];
            let expected = (!direct).then(|| "http://proxy.example:3128/".to_owned());
            assert_eq!(through(&variables, target), expected, "{exceptions} {target}");
        }
    }

    #[test]
    fn loopback_is_always_reached_directly() {
        for target in ["https://localhost/", "https://127.9.9.9:1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/"] {
            assert_eq!(through(&[("ALL_PROXY", "proxy.example:3128")], target), None, "{target}");
        }
    }

    #[test]
    fn user_and_password_are_kept_and_not_shown() {
        let proxies = proxies(&[("HTTPS_PROXY", "https://robot:se%22cr%40et@proxy.example:3129/path\n")]);
        let proxy = proxies.to(&"https://quay.io/".parse().unwrap()).unwrap().unwrap();
        assert_eq!(proxy.to_string(), "the proxy https://proxy.example:3129 of HTTPS_PROXY");
        assert_eq!(proxy.authorization.as_ref().unwrap(), &format!("Basic {}", STANDARD.encode("robot:se\"cr@et")));
        let secrets: Vec<String> = proxies.secrets().iter().map(|secret| secret.expose().to_owned()).collect();
        assert_eq!(secrets, [STANDARD.encode("robot:se\"cr@et"), "se\"cr@et".to_owned()]);
        let shown = format!("{proxies:?}");
        assert!(!shown.contains("cr%40et") && !shown.contains("cr@et") && !shown.contains(&secrets[0]), "{shown}");
    }
}
