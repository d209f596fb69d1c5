//! Where a request comes from, and whether that network may come in.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use crate::config::Access;

/// The client's address: the peer's, or, behind trusted proxies, the last address in `x-forwarded-for` that is none of
/// them. Addresses further to the left are the client's own claim and are not believed.
pub fn client_ip(peer: IpAddr, headers: &HeaderMap, access: &Access) -> IpAddr {
    let peer = peer.to_canonical();
    if !contains(&access.trusted_proxies, peer) {
        return peer;
    }
    let hops: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for hop in hops.iter().rev() {
        let Ok(address) = hop.trim().parse::<IpAddr>() else { return peer };
        let address = address.to_canonical();
        if !contains(&access.trusted_proxies, address) {
            return address;
        }
    }
    peer
}

/// Whether `address` may come in.
pub fn may_enter(address: IpAddr, access: &Access) -> bool {
    let allowed = access.allow.is_empty() || contains(&access.allow, address);
    allowed && !contains(&access.deny, address)
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
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
    fn only_a_trusted_proxy_is_believed() {
        let access = access("trusted_proxies = ['192.0.2.0/24']");
        let headers = forwarded("6.6.6.6, 203.0.113.7, 192.0.2.9");
        assert_eq!(client_ip(ip("192.0.2.1"), &headers, &access), ip("203.0.113.7"));
        assert_eq!(client_ip(ip("198.51.100.1"), &headers, &access), ip("198.51.100.1"));
        assert_eq!(client_ip(ip("::ffff:192.0.2.1"), &forwarded("nonsense"), &access), ip("192.0.2.1"));
    }

    #[test]
    fn a_mapped_address_is_its_v4_self() {
        assert!(!may_enter(
            client_ip(ip("::ffff:10.9.0.1"), &HeaderMap::new(), &Access::default()),
            &access("deny = ['10.9.0.0/16']")
        ));
    }
}
