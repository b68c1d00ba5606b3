//! Who may receive credentials: the registry's own host, a token service of the same owner, or the token service that the policy
//! lists. Nobody else, and never as a fallback. Pure.

use std::net::IpAddr;

use url::Url;

use super::scheme::BearerChallenge;
use crate::model::{FailureCause, RegistryFailureKind};
use crate::registry::access::Endpoint;
use crate::registry::error::{RegistryError, Result};
use crate::registry::http::address::{AddressClass, normalized_host};

/// Returns the address of the token service, if the rules allow to contact it (and to send it credentials, with
/// `with_credentials`).
pub(crate) fn checked_realm(endpoint: &Endpoint, challenge: &BearerChallenge, with_credentials: bool) -> Result<Url> {
    let error = |kind, unquoted: &str, text: &str| RegistryError::quoting(kind, unquoted, text).of_whole_registry();
    let unusable = |error: RegistryError| Err(error.because(FailureCause::TokenServiceAddress));
    let invalid = || {
        let text = format!("token realm {:?}", challenge.realm);
        unusable(error(RegistryFailureKind::InvalidAnswer, "a token realm that is no address", &text))
    };
    let Ok(url) = Url::parse(&challenge.realm) else { return invalid() };
    let (Some(host), true) = (url.host_str(), url.username().is_empty() && url.password().is_none()) else {
        return invalid();
    };
    let secure = url.scheme() == "https" || (url.scheme() == "http" && endpoint.settings.plain_http);
    if !secure {
        let text = format!("token service {}://{host}", url.scheme());
        return unusable(error(RegistryFailureKind::RefusedTarget, "a token service without TLS", &text));
    }
    let listed = endpoint.settings.token_service.as_deref().is_some_and(|listed| is_listed(listed, &url));
    let own = endpoint.base.host_str().is_some_and(|registry| have_same_owner(registry, host));
    if with_credentials && !own && !listed {
        let text = format!("token service {host}");
        let unquoted = "a token service on a host of another owner";
        let foreign = error(RegistryFailureKind::ForeignTokenService, unquoted, &text);
        // A registry that is known by a public name and sends its clients to an inner one has a wrong address of itself.
        let is_inner = AddressClass::of_host(&url) != AddressClass::Public
            && AddressClass::of_host(&endpoint.base) == AddressClass::Public;
        return if is_inner { unusable(foreign) } else { Err(foreign) };
    }
    Ok(url)
}

/// Whether the policy's `host[:port]` names this address. Without a port, every port of the host matches.
fn is_listed(listed: &str, url: &Url) -> bool {
    let Ok(named) = Url::parse(&format!("{}://{listed}/", url.scheme())) else { return false };
    let has_port = named.port().is_some() || listed.ends_with(":443") || listed.ends_with(":80");
    named.host_str() == url.host_str() && (!has_port || named.port_or_known_default() == url.port_or_known_default())
}

/// Whether two hosts (without ports) have the same owner: the same host, or names below the same registrable domain of the public
/// suffix list. An address, or a name under a suffix that is not on the list, shares its owner with no other.
fn have_same_owner(one: &str, other: &str) -> bool {
    let (one, other) = (normalized_host(one), normalized_host(other));
    if one == other {
        return true;
    }
    let registrable = |host: &str| {
        let is_address = host.parse::<IpAddr>().is_ok() || host.starts_with('[');
        let domain = (!is_address).then(|| psl::domain(host.as_bytes())).flatten()?;
        domain.suffix().is_known().then(|| domain.as_bytes().to_vec())
    };
    registrable(&one).is_some_and(|domain| registrable(&other) == Some(domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::access::{Access, RegistrySettings};

    fn endpoint(host: &str, token_service: Option<&str>, plain_http: bool) -> Endpoint {
        let settings = RegistrySettings {
            host: host.to_owned(),
            token_service: token_service.map(str::to_owned),
            plain_http,
            ..RegistrySettings::default()
        };
        let access = Access { registries: vec![settings], ..Access::default() };
        access.endpoint(&format!("{host}/calico/node:v1").parse().unwrap()).unwrap().0
    }

    fn challenge(realm: &str) -> BearerChallenge {
        BearerChallenge { realm: realm.to_owned(), ..BearerChallenge::default() }
    }

    fn allowed(endpoint: &Endpoint, to: &str, with_credentials: bool) -> Result<(), RegistryFailureKind> {
        checked_realm(endpoint, &challenge(to), with_credentials).map(drop).map_err(|error| error.kind)
    }

    #[test]
    fn credentials_go_to_the_owner_or_the_listed_service_only() {
        use RegistryFailureKind::{ForeignTokenService, InvalidAnswer, RefusedTarget};
        let hub = endpoint("docker.io", None, false);
        assert_eq!(allowed(&hub, "https://auth.docker.io/token", true), Ok(()));
        assert_eq!(allowed(&hub, "https://registry-1.docker.io:5001/token", true), Ok(()));
        assert_eq!(allowed(&hub, "https://evil.example/token", true), Err(ForeignTokenService));
        assert_eq!(allowed(&hub, "https://evil.example/token", false), Ok(()));
        assert_eq!(allowed(&hub, "http://auth.docker.io/token", false), Err(RefusedTarget));
        assert_eq!(allowed(&hub, "file:///etc/passwd", false), Err(InvalidAnswer));
        assert_eq!(allowed(&hub, "https://u:p@auth.docker.io/", true), Err(InvalidAnswer));
        assert_eq!(allowed(&hub, "", true), Err(InvalidAnswer));
        let listed = endpoint("reg.example.com", Some("auth.example.org"), false);
        assert_eq!(allowed(&listed, "https://auth.example.org/token", true), Ok(()));
        assert_eq!(allowed(&listed, "https://auth.example.org.evil.example/token", true), Err(ForeignTokenService));
        let with_port = endpoint("reg.example.com", Some("auth.example.org:8443"), false);
        assert_eq!(allowed(&with_port, "https://auth.example.org:8443/token", true), Ok(()));
        assert_eq!(allowed(&with_port, "https://auth.example.org/token", true), Err(ForeignTokenService));
        assert_eq!(allowed(&endpoint("reg:5000", None, true), "http://reg:5001/token", true), Ok(()));
    }

    #[test]
    fn owners_differ_by_registrable_domain() {
        assert!(have_same_owner("registry-1.docker.io", "auth.docker.io"));
        assert!(have_same_owner("quay.io", "QUAY.io."));
        assert!(have_same_owner("registry.example.co.uk", "auth.example.co.uk"));
        for (one, other) in [
            ("foo.co.uk", "bar.co.uk"),
            ("docker.io", "docker.io.evil.example"),
            ("one.github.io", "other.github.io"),
            ("10.0.0.1", "10.0.0.2"),
            ("registry", "auth"),
            ("registry.tenant-a.svc.cluster.local", "evil.tenant-b.svc.cluster.local"),
            ("127.0.0.1", "localhost"),
            ("", "x"),
        ] {
            assert!(!have_same_owner(one, other), "{one} {other}");
        }
    }
}
