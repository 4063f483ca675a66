//! Which addresses a delivery may go to.
//!
//! Whoever administers a wallet chooses the URL, so a request must not reach what only this machine
//! or its network can reach. The address is looked at after the name was resolved, and it is the
//! address that is connected to: a name that resolves to something else a moment later does not
//! help.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::Worker;

/// Networks of IPv4 that are not public: RFC 6890 and its updates.
const NOT_PUBLIC: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The public part of IPv6.
const GLOBAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Parts of it that are not public, or that contain an address of IPv4: protocols and Teredo,
/// documentation, 6to4.
const NOT_GLOBAL: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address belongs to the public Internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC
            .iter()
            .any(|(network, length)| is_in_v4(address, *network, *length)),
        // All else is refused: mapped and compatible addresses, NAT64, link-local, local,
        // multicast.
        IpAddr::V6(address) => {
            is_in_v6(address, GLOBAL)
                && !NOT_GLOBAL.iter().any(|network| is_in_v6(address, *network))
        }
    }
}

fn is_in_v4(address: Ipv4Addr, network: Ipv4Addr, length: u8) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= u32::from(length)
}

fn is_in_v6(address: Ipv6Addr, (network, length): (Ipv6Addr, u8)) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= u32::from(length)
}

/// The rules for addresses.
#[derive(Clone, Debug)]
pub struct Guard {
    allowed: Vec<IpNet>,
    plain_hosts: Vec<String>,
}

impl Guard {
    /// The rules of the settings.
    pub fn new(config: &Worker) -> Guard {
        let lower = |host: &String| host.to_ascii_lowercase();
        Guard {
            allowed: config.allowed_networks.clone(),
            plain_hosts: config.plain_hosts.iter().map(lower).collect(),
        }
    }

    /// No rules: for a URL that the operator set.
    pub fn none() -> Guard {
        let everything = [IpNet::default(), IpNet::V6(ipnet::Ipv6Net::default())];
        Guard {
            allowed: everything.to_vec(),
            plain_hosts: Vec::new(),
        }
    }

    /// The reason for which this address of this host may not be connected to. `None`: it may.
    pub fn refuses(&self, host: &str, address: IpAddr, is_plain: bool) -> Option<&'static str> {
        if self
            .allowed
            .iter()
            .any(|network| network.contains(&address))
        {
            return None;
        }
        if !is_public(address) {
            return Some("the host has no public address");
        }
        let is_listed = || self.plain_hosts.contains(&host.to_ascii_lowercase());
        (is_plain && !is_listed()).then_some("the URL is not https")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(networks: &[&str], hosts: &[&str]) -> Guard {
        Guard::new(&Worker {
            allowed_networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            plain_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..Worker::default()
        })
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert!(!is_public(address), "{text}");
            let refused = guard(&[], &[]).refuses("example.com", address, false);
            assert_eq!(refused, Some("the host has no public address"), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700:4700::1111",
            "3ffe::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert!(is_public(address), "{text}");
            let guard = guard(&[], &["plain.example"]);
            assert_eq!(guard.refuses("example.com", address, false), None, "{text}");
            assert!(guard.refuses("example.com", address, true).is_some());
            assert_eq!(guard.refuses("Plain.Example", address, true), None);
        }
    }

    #[test]
    fn only_networks_that_are_listed_are_exceptions() {
        let guard = guard(&["10.1.0.0/16", "fd00:1::/32"], &["inside.example"]);
        for (text, is_allowed) in [
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("fd00:1::5", true),
            ("fd00:2::5", false),
            ("::ffff:10.1.2.3", false),
        ] {
            let address: IpAddr = text.parse().unwrap();
            for is_plain in [false, true] {
                let refused = guard.refuses("inside.example", address, is_plain);
                assert_eq!(refused.is_none(), is_allowed, "{text}");
            }
        }
    }
}
