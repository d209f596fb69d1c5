//! The address that a request comes from, and whether its network is allowed.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net};

use crate::config::Access;

/// The header in which a proxy names its client.
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers that only proxies write: a request with one of them was passed on, whatever the peer's address is.
static PROXY_HEADERS: [HeaderName; 9] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("via"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("true-client-ip"),
];

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The client's address, as far as it is known.
    pub address: IpAddr,
    /// Whether a trusted proxy named the address; else it is the peer's, which may be an unknown proxy.
    pub named: bool,
}

impl Source {
    /// Whether the client is a program of this machine, as far as can be known: no proxy passed the request on, or a
    /// trusted one that names a loopback address.
    pub fn is_own_machine(self, headers: &HeaderMap) -> bool {
        self.address.is_loopback() && (self.named || !is_passed_on(headers))
    }
}

/// Whether a proxy passed the request on, by its headers.
pub fn is_passed_on(headers: &HeaderMap) -> bool {
    PROXY_HEADERS.iter().any(|name| headers.contains_key(name))
}

/// A trusted proxy named its client, but not by an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled;

/// The client's address: the peer's, or, behind trusted proxies, the last address in `x-forwarded-for` that is none of
/// them (the first, where all are). Addresses further to the left are the client's own claim and are not believed.
///
/// # Errors
///
/// When the address that a trusted proxy wrote cannot be read: its client must not be taken for the proxy.
pub fn client(peer: IpAddr, headers: &HeaderMap, access: &Access) -> Result<Source, Garbled> {
    let peer = peer.to_canonical();
    let mut source = Source { address: peer, named: false };
    if !contains(&access.trusted_proxies, peer) {
        return Ok(source);
    }
    let lists = headers.get_all(&FORWARDED_FOR);
    let hops: Vec<&[u8]> = lists.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).collect();
    for hop in hops.into_iter().rev().map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()) {
        source = Source { address: address_of(hop).ok_or(Garbled)?, named: true };
        if !contains(&access.trusted_proxies, source.address) {
            break;
        }
    }
    Ok(source)
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn address_of(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// Whether a connection from `peer` is allowed: by its own address, or as a trusted proxy, whose clients are checked
/// later.
pub fn may_connect(peer: IpAddr, access: &Access) -> bool {
    let peer = peer.to_canonical();
    contains(&access.trusted_proxies, peer) || may_enter(peer, access)
}

/// Whether requests from `address` are allowed.
pub fn may_enter(address: IpAddr, access: &Access) -> bool {
    let allowed = access.allow.is_empty() || contains(&access.allow, address);
    allowed && !contains(&access.deny, address)
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| canonical(network).contains(&address))
}

/// An IPv4-mapped IPv6 network as the IPv4 network it is; addresses are compared in that form, too.
fn canonical(network: &IpNet) -> IpNet {
    let bits = network.prefix_len().checked_sub(96);
    match (network.addr().to_canonical(), bits) {
        (IpAddr::V4(address), Some(bits)) if matches!(network, IpNet::V6(_)) => {
            Ipv4Net::new(address, bits).map_or(*network, IpNet::V4)
        }
        _ => *network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(text: &str) -> Access {
        let config: crate::config::Config = format!("[access]\n{text}").parse().unwrap();
        config.access
    }

    fn forwarded(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("x-forwarded-for"),
            http::HeaderValue::from_static(value),
        )])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn deny_is_stronger_than_allow_in_v4_and_v6() {
        let access = access("allow = ['10.0.0.0/8', '2001:db8::/32']\ndeny = ['10.9.0.0/16']");
        assert!(may_enter(ip("10.1.2.3"), &access));
        assert!(!may_enter(ip("10.9.2.3"), &access));
        assert!(may_enter(ip("2001:db8::1"), &access));
        assert!(!may_enter(ip("2001:db9::1"), &access));
    }

    #[test]
    fn a_proxy_may_connect_whatever_is_said_of_its_network() {
        let access = access("trusted_proxies = ['192.0.2.1/32']\ndeny = ['192.0.2.0/24']\nallow = ['192.0.0.0/8']");
        let may = |peer: &str| may_connect(ip(peer), &access);
        assert_eq!(
            ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "::ffff:192.0.2.2", "192.0.3.1", "10.0.0.1"].map(may),
            [true, true, false, false, true, false]
        );
    }

    fn from(peer: &str, headers: &HeaderMap, access: &Access) -> IpAddr {
        client(ip(peer), headers, access).unwrap().address
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let access = access("trusted_proxies = ['192.0.2.0/24']");
        let headers = forwarded("6.6.6.6, 203.0.113.7, 192.0.2.9");
        assert_eq!(from("192.0.2.1", &headers, &access), ip("203.0.113.7"));
        assert_eq!(from("198.51.100.1", &headers, &access), ip("198.51.100.1"));
        assert_eq!(
            from("192.0.2.1", &forwarded("192.0.2.8, 192.0.2.9"), &access),
            ip("192.0.2.8"),
            "the first of all"
        );
        assert_eq!(from("192.0.2.1", &HeaderMap::new(), &access), ip("192.0.2.1"), "the proxy's own");
    }

    #[test]
    fn who_stands_behind_a_proxy_is_never_taken_for_it() {
        let access = access("trusted_proxies = ['127.0.0.1/32', '::1/128']");
        for (said, meant) in [
            ("6.6.6.6:1234", "6.6.6.6"),
            ("[2001:db8::1]:99", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:6.6.6.6", "6.6.6.6"),
            ("6.6.6.6 ,", "6.6.6.6"),
        ] {
            let source = client(ip("::ffff:127.0.0.1"), &forwarded(said), &access).unwrap();
            assert_eq!(source, Source { address: ip(meant), named: true }, "{said}");
        }
        for said in ["unknown", "_hidden", "6.6.6.6:x", "unknown, 127.0.0.1", "[6.6.6.6"] {
            assert_eq!(client(ip("127.0.0.1"), &forwarded(said), &access), Err(Garbled), "{said}");
        }
        let bytes = http::HeaderValue::from_bytes(b"\xff, 6.6.6.6").unwrap();
        let bytes = HeaderMap::from_iter([(FORWARDED_FOR.clone(), bytes)]);
        assert_eq!(from("127.0.0.1", &bytes, &access), ip("6.6.6.6"));
    }

    #[test]
    fn what_was_passed_on_is_not_this_machines() {
        let own = |headers: &HeaderMap, access: &Access| {
            client(ip("127.0.0.1"), headers, access).unwrap().is_own_machine(headers)
        };
        let (nobody, proxied) = (Access::default(), access("trusted_proxies = ['127.0.0.1/32']"));
        assert!(own(&HeaderMap::new(), &nobody));
        for name in &PROXY_HEADERS {
            let value = http::HeaderValue::from_static("127.0.0.1");
            let headers = HeaderMap::from_iter([(name.clone(), value)]);
            assert!(!own(&headers, &nobody), "{name}");
            // A trusted proxy names the caller in this one header; with any other the caller is not known.
            assert_eq!(own(&headers, &proxied), *name == FORWARDED_FOR, "{name}");
        }
        assert!(!own(&forwarded("6.6.6.6"), &proxied));
    }

    #[test]
    fn a_mapped_address_or_network_is_its_v4_self() {
        let mapped = from("::ffff:10.9.0.1", &HeaderMap::new(), &Access::default());
        assert!(!may_enter(mapped, &access("deny = ['10.9.0.0/16']")));
        for (network, denied) in
            [("::ffff:0.0.0.0/96", true), ("::ffff:10.9.0.0/112", true), ("::ffff:10.8.0.0/112", false)]
        {
            assert_eq!(!may_enter(mapped, &access(&format!("deny = ['{network}']"))), denied, "{network}");
        }
        assert!(may_enter(ip("10.9.0.1"), &access("deny = ['::/0']")), "v6 is v6");
    }
}
