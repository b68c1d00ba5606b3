//! To whom a registry may send us: which hosts belong to the same owner, and which addresses a registry may name from
//! where it stands itself. Pure; the rules are those of the security section of the design.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address reaches. A registry may send us outwards, never further in than it stands itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// Routed on the internet.
    Public,
    /// Private networks (RFC 1918, RFC 4193) and shared address space (RFC 6598).
    Private,
    /// This machine.
    Loopback,
    /// Link-local, where clouds keep their metadata services.
    LinkLocal,
    /// Nothing to connect to: unspecified, multicast, broadcast, reserved.
    Unusable,
}

impl AddressClass {
    /// The class of an address; an IPv4 address inside IPv6 counts as itself.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => embedded_v4(address).map_or_else(|| Self::of_v6(address), Self::of_v4),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, ..] = address.octets();
        if address.is_loopback() {
            Self::Loopback
        } else if address.is_link_local() {
            Self::LinkLocal
        } else if address.is_private() || (first == 100 && second & 0xc0 == 64) {
            Self::Private
        } else if first == 0 || first >= 224 {
            Self::Unusable
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let first = address.segments()[0];
        if address.is_loopback() {
            Self::Loopback
        } else if address.is_unspecified() || address.is_multicast() {
            Self::Unusable
        } else if first & 0xffc0 == 0xfe80 {
            Self::LinkLocal
        } else if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 {
            Self::Private
        } else {
            Self::Public
        }
    }

    /// Whether a registry at an address of this class may send us to `target`.
    #[must_use]
    pub const fn may_send_to(self, target: Self) -> bool {
        match target {
            Self::Public => true,
            Self::Private => matches!(self, Self::Private | Self::Loopback),
            Self::Loopback => matches!(self, Self::Loopback),
            Self::LinkLocal => matches!(self, Self::LinkLocal),
            Self::Unusable => false,
        }
    }
}

/// IPv4 addresses that are written as IPv6: mapped (`::ffff:a.b.c.d`), compatible, and NAT64 (`64:ff9b::/96`).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if address.is_loopback() || address.is_unspecified() {
        return None;
    }
    let segments = address.segments();
    let embeds = matches!(segments, [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _]);
    let [.., a, b] = segments;
    let ([a, b], [c, d]) = (a.to_be_bytes(), b.to_be_bytes());
    embeds.then(|| Ipv4Addr::new(a, b, c, d))
}

/// Whether two hosts (without ports) belong to one owner: the same host, or names below the same registrable domain of the
/// public suffix list. Addresses and names under suffixes that the list does not know have only themselves.
#[must_use]
pub fn same_owner(one: &str, other: &str) -> bool {
    let (one, other) = (plain(one), plain(other));
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

fn plain(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_classed() {
        let cases = [
            ("1.1.1.1", AddressClass::Public),
            ("10.0.0.1", AddressClass::Private),
            ("172.31.0.1", AddressClass::Private),
            ("192.168.1.1", AddressClass::Private),
            ("100.64.0.1", AddressClass::Private),
            ("127.9.9.9", AddressClass::Loopback),
            ("169.254.169.254", AddressClass::LinkLocal),
            ("0.0.0.0", AddressClass::Unusable),
            ("255.255.255.255", AddressClass::Unusable),
            ("::1", AddressClass::Loopback),
            ("::", AddressClass::Unusable),
            ("fe80::1", AddressClass::LinkLocal),
            ("fd00:ec2::254", AddressClass::Private),
            ("::ffff:169.254.169.254", AddressClass::LinkLocal),
            ("64:ff9b::a9fe:a9fe", AddressClass::LinkLocal),
            ("::7f00:1", AddressClass::Loopback),
            ("2606:4700::1111", AddressClass::Public),
        ];
        for (text, class) in cases {
            assert_eq!(AddressClass::of(text.parse().unwrap()), class, "{text}");
        }
    }

    #[test]
    fn nobody_is_sent_further_in_than_the_registry_stands() {
        use AddressClass::{LinkLocal, Loopback, Private, Public, Unusable};
        for target in [Private, Loopback, LinkLocal, Unusable] {
            assert!(!Public.may_send_to(target), "{target:?}");
        }
        assert!(Public.may_send_to(Public) && Private.may_send_to(Private) && Private.may_send_to(Public));
        assert!(!Private.may_send_to(Loopback) && !Private.may_send_to(LinkLocal) && !Loopback.may_send_to(LinkLocal));
    }

    #[test]
    fn owners_are_told_apart_by_registrable_domain() {
        assert!(same_owner("registry-1.docker.io", "auth.docker.io"));
        assert!(same_owner("quay.io", "QUAY.io."));
        assert!(same_owner("registry.example.co.uk", "auth.example.co.uk"));
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
            assert!(!same_owner(one, other), "{one} {other}");
        }
    }
}
