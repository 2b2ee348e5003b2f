//! Where requests made for a caller may go: never to this machine or its own network, unless the target's owner allowed it.
//!
//! A name is resolved, its addresses are checked, and the connection goes to a checked address: a name that points elsewhere a moment
//! later gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kernel::Fault;

/// Whether an address belongs to this machine, to a private or link-local network, or to nobody who could be meant.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => embedded_v4(v6).map_or_else(|| is_private_v6(v6), is_private_v4),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // This network, private, loopback, link-local, multicast and reserved.
        (0 | 10 | 127 | 224..=255, ..) | (172, 16..=31, _) | (192, 168, _) | (169, 254, _) => true,
        // Carrier-grade NAT, benchmarks, protocol assignments, documentation.
        (100, 64..=127, _) | (198, 18 | 19, _) | (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    }
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Global unicast is 2000::/3; all else is loopback, unique local, link-local, multicast or unassigned. Documentation is inside it.
    first & 0xe000 != 0x2000 || (first, second) == (0x2001, 0x0db8) || (first, second & 0xff00) == (0x3fff, 0)
}

/// The IPv4 address that an IPv6 address only stands for: mapped, compatible, NAT64, 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// The addresses of `host` that may be connected to.
///
/// # Errors
/// When it does not resolve, or all of its addresses are out of bounds.
pub async fn resolve(host: &str, port: u16, allow_private: bool) -> Result<Vec<SocketAddr>, Fault> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| Fault::unavailable(format!("{host} does not resolve: {error}")))?
        .collect();
    let allowed: Vec<SocketAddr> =
        found.iter().copied().filter(|address| allow_private || !is_private(address.ip())).collect();
    match (found.first(), allowed.is_empty()) {
        (None, _) => Err(Fault::unavailable(format!("{host} has no address"))),
        (Some(first), true) => Err(Fault::denied(format!("{host} is a private address ({})", first.ip()))
            .hint("set `allow_private` for this target if it is meant to be on this machine or network")),
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_private_from_public() {
        for private in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.9.9",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "192.169.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn no_spelling_of_loopback_gets_through() {
        for host in ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433", "127.1", "[::ffff:127.0.0.1]"] {
            let fault = resolve(host, 80, false).await.unwrap_err();
            // What a resolver does not know cannot be connected to either.
            assert!(
                matches!(fault.code, kernel::Code::PermissionDenied | kernel::Code::Unavailable),
                "{host}: {fault}"
            );
        }
        assert!(resolve("127.0.0.1", 80, true).await.is_ok());
    }
}
