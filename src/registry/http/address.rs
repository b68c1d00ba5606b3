//! Address classes: which addresses a registry may send the controller to, judged by where the registry itself is. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// How far an address reaches. A registry may send the controller outwards, never further in than its own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum AddressClass {
    /// Routed on the internet.
    Public,
    /// Private networks (RFC 1918, RFC 4193), shared address space (RFC 6598), local-use NAT64 (RFC 8215), benchmarking
    /// (RFC 2544).
    Private,
    /// This machine.
    Loopback,
    /// Link-local addresses, and the other addresses of cloud metadata services.
    LinkLocal,
    /// No host: unspecified, multicast, broadcast, discard-only, reserved.
    Unusable,
}

/// Which addresses a request may connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// The request goes to the registry that the user named: any address but those of metadata services.
    Registry,
    /// A registry at an address of this class named the host: never further in than that address.
    SentBy(AddressClass),
    /// The request goes to a metadata service of a cloud: link-local addresses, and this machine.
    CloudMetadata,
}

impl Reach {
    pub(crate) fn allows(self, target: IpAddr) -> bool {
        let class = AddressClass::of(target);
        match self {
            Self::Registry => !is_metadata_service(target),
            Self::SentBy(sender) => sender.may_send_to(class),
            Self::CloudMetadata => matches!(class, AddressClass::LinkLocal | AddressClass::Loopback),
        }
    }
}

/// Metadata and host services of clouds at addresses that are not link-local: Azure's wire server, Alibaba Cloud.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];
/// The same at link-local addresses: most clouds, the credentials of tasks and of EKS Pod Identity (AWS), Oracle Cloud.
const METADATA_LINK_LOCAL: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// The same in IPv6: AWS (twice: EKS Pod Identity), Google Cloud, Scaleway (by their own documentation).
const METADATA_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x42),
];

/// Names of metadata services.
const METADATA_NAMES: [&str; 4] =
    ["metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"];

impl AddressClass {
    /// Returns the class of an address. An IPv4 address inside IPv6 counts as itself.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => embedded_v4(address).map_or_else(|| Self::of_v6(address), Self::of_v4),
        }
    }

    /// Returns the class of a name whose addresses are not known here because a proxy resolves it. A name below a public suffix may
    /// be on the internet; any other name exists in an internal network only.
    pub(crate) fn of_name(name: &str) -> Self {
        let name = normalized_host(name);
        if name == "localhost" || name.ends_with(".localhost") {
            return Self::Loopback;
        }
        if METADATA_NAMES.contains(&name.as_str()) {
            return Self::LinkLocal;
        }
        let known = psl::domain(name.as_bytes()).is_some_and(|domain| domain.suffix().is_known());
        if known { Self::Public } else { Self::Private }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, third, _] = address.octets();
        if address.is_loopback() {
            Self::Loopback
        // 192.0.0.0/24 (RFC 6890) has no internet hosts, but Oracle Cloud's older metadata service.
        } else if address.is_link_local() || METADATA_V4.contains(&address) || (first, second, third) == (192, 0, 0) {
            Self::LinkLocal
        } else if address.is_private() || (first == 100 && second & 0xc0 == 64) || (first == 198 && second & 0xfe == 18)
        {
            Self::Private
        } else if first == 0 || first >= 224 || (first, second, third) == (192, 88, 99) {
            Self::Unusable
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let [first, second, third, fourth, .., seventh, eighth] = address.segments();
        if address.is_loopback() {
            Self::Loopback
        } else if address.is_unspecified() || address.is_multicast() {
            Self::Unusable
        } else if first & 0xffc0 == 0xfe80 || METADATA_V6.contains(&address) {
            Self::LinkLocal
        } else if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 {
            Self::Private
        } else if (first, second, third) == (0x64, 0xff9b, 1) {
            // The network's own translator reaches at least that network.
            match Self::of_v4(v4(seventh, eighth)) {
                inner @ (Self::Loopback | Self::LinkLocal) => inner,
                _ => Self::Private,
            }
        } else if (first, second, third, fourth) == (0x100, 0, 0, 0) {
            Self::Unusable
        } else {
            Self::Public
        }
    }

    /// Returns the class of a URL's host, without a name lookup.
    pub(crate) fn of_host(url: &Url) -> Self {
        literal_address(url).map_or_else(|| Self::of_name(url.host_str().unwrap_or_default()), Self::of)
    }

    /// Whether a registry at an address of this class may send the controller to `target`.
    pub(crate) const fn may_send_to(self, target: Self) -> bool {
        match target {
            Self::Public => true,
            Self::Private => matches!(self, Self::Private | Self::Loopback),
            Self::Loopback => matches!(self, Self::Loopback),
            Self::LinkLocal => matches!(self, Self::LinkLocal),
            Self::Unusable => false,
        }
    }

    /// Returns the class that may send only where both may: for a registry that redirects to a host that redirects again.
    pub(crate) const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Loopback, Self::Loopback) => Self::Loopback,
            (Self::LinkLocal, Self::LinkLocal) => Self::LinkLocal,
            (Self::Private | Self::Loopback, Self::Private | Self::Loopback) => Self::Private,
            _ => Self::Public,
        }
    }
}

/// Returns the IPv4 address that is written as IPv6, or that a tunnel or translator extracts from it: mapped (`::ffff:a.b.c.d`),
/// translated (`::ffff:0:a.b.c.d`), compatible, NAT64 (`64:ff9b::/96`), 6to4 (`2002::/16`), Teredo (`2001::/32`, the
/// client's address, inverted).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if address.is_loopback() || address.is_unspecified() {
        return None;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        [0x2001, 0, .., high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

/// Whether a metadata service of a cloud has this address. These hand out credentials of the node or the pod.
pub(crate) fn is_metadata_service(address: IpAddr) -> bool {
    let is_v4 = |address: &Ipv4Addr| METADATA_V4.contains(address) || METADATA_LINK_LOCAL.contains(address);
    match address {
        IpAddr::V4(address) => is_v4(&address),
        IpAddr::V6(address) => embedded_v4(address).as_ref().is_some_and(is_v4) || METADATA_V6.contains(&address),
    }
}

/// Whether a URL names a metadata service of a cloud, without a name lookup.
pub(crate) fn names_metadata_service(url: &Url) -> bool {
    match literal_address(url) {
        Some(address) => is_metadata_service(address),
        None => METADATA_NAMES.contains(&normalized_host(url.host_str().unwrap_or_default()).as_str()),
    }
}

/// Returns the address that a URL contains literally, without a name lookup.
pub(crate) fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// Returns a host name in lower case, without the dot of the root.
pub(crate) fn normalized_host(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_classified() {
        // Teredo (2001:0::/32) inverts the client's address.
        for (class, addresses) in [
            (
                AddressClass::Public,
                "1.1.1.1 168.63.129.17 192.0.1.1 2002:101:101::1 64:ff9b::101:101 64:ff9b:2::1 2606:4700::1111",
            ),
            (
                AddressClass::Private,
                "10.0.0.1 172.31.0.1 192.168.1.1 100.64.0.1 fd00:ec2::253 198.19.255.255 2002:a00:1::1 \
                 64:ff9b::a00:1 64:ff9b:1::101:101 2001:0:101:101:0:0:f5ff:fffe ::ffff:0:10.0.0.1 ::10.0.0.1",
            ),
            (AddressClass::Loopback, "127.9.9.9 ::1 2002:7f00:1:: ::7f00:1"),
            (
                AddressClass::LinkLocal,
                "169.254.169.254 fe80::1 fd00:ec2::254 fd20:ce::254 168.63.129.16 100.100.100.200 192.0.0.192 \
                 2002:a9fe:a9fe::1 64:ff9b:1:ffff::a9fe:a9fe 2001:0:101:101:0:0:5601:5601 ::ffff:168.63.129.16 \
                 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe",
            ),
            (AddressClass::Unusable, "0.0.0.0 255.255.255.255 :: 192.88.99.1 100::1"),
        ] {
            for text in addresses.split(' ') {
                assert_eq!(AddressClass::of(text.parse().unwrap()), class, "{text}");
            }
        }
    }

    #[test]
    fn metadata_services_are_for_the_flow_of_their_cloud_alone() {
        for text in
            "169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254 \
                     fd00:ec2::23 fd20:ce::254 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe"
                .split_whitespace()
        {
            let address = text.parse().unwrap();
            let reaches = [Reach::Registry, Reach::CloudMetadata].map(|reach| reach.allows(address));
            assert_eq!(reaches, [false, true], "{text}");
        }
        for text in ["169.254.1.1", "10.0.0.1", "127.0.0.1", "1.1.1.1", "fe80::1"] {
            assert!(Reach::Registry.allows(text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1", "1.1.1.1", "0.0.0.0"] {
            assert!(!Reach::CloudMetadata.allows(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn no_registry_sends_further_in_than_its_own_address() {
        use AddressClass::{LinkLocal, Loopback, Private, Public, Unusable};
        for target in [Private, Loopback, LinkLocal, Unusable] {
            assert!(!Public.may_send_to(target), "{target:?}");
        }
        assert!(Public.may_send_to(Public) && Private.may_send_to(Private) && Private.may_send_to(Public));
        assert!(!Private.may_send_to(Loopback) && !Private.may_send_to(LinkLocal) && !Loopback.may_send_to(LinkLocal));
    }

    #[test]
    fn a_chain_reaches_only_where_each_of_its_hosts_may_send() {
        use AddressClass::{LinkLocal, Loopback, Private, Public, Unusable};
        let all = [Public, Private, Loopback, LinkLocal, Unusable];
        for (one, other) in all.into_iter().flat_map(|one| all.map(|other| (one, other))) {
            for target in all {
                let both = one.may_send_to(target) && other.may_send_to(target);
                assert_eq!(one.and(other).may_send_to(target), both, "{one:?} {other:?} {target:?}");
            }
        }
    }

    #[test]
    fn names_that_a_proxy_resolves_are_classified() {
        for (name, class) in [
            ("cdn01.quay.io", AddressClass::Public),
            ("localhost.", AddressClass::Loopback),
            ("registry.localhost", AddressClass::Loopback),
            ("metadata.google.internal", AddressClass::LinkLocal),
            ("METADATA", AddressClass::LinkLocal),
            ("kubernetes.default.svc", AddressClass::Private),
            ("harbor.corp", AddressClass::Private),
            ("minio", AddressClass::Private),
        ] {
            assert_eq!(AddressClass::of_name(name), class, "{name}");
        }
    }
}
