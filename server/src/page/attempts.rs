//! How often an address may try to sign in.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// The most addresses that are remembered before old ones are forgotten.
const REMEMBERED: usize = 10_000;

/// The attempts of each address.
pub struct Attempts(DefaultKeyedRateLimiter<IpAddr>);

impl Attempts {
    /// So many attempts per minute.
    pub fn new(per_minute: NonZeroU32) -> Attempts {
        Attempts(RateLimiter::keyed(Quota::per_minute(per_minute)))
    }

    /// Whether the address may try now.
    pub fn may(&self, address: IpAddr) -> bool {
        if self.0.len() > REMEMBERED {
            self.0.retain_recent();
        }
        self.0.check_key(&network(address)).is_ok()
    }
}

/// Who has one address of IPv6 has the 64 bits after its network too.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_attempts_and_others_have_their_own() {
        let attempts = Attempts::new(NonZeroU32::new(3).unwrap());
        let at = |text: &str| attempts.may(text.parse().unwrap());
        assert_eq!(
            [at("192.0.2.1"), at("192.0.2.1"), at("192.0.2.1")],
            [true; 3]
        );
        assert!(!at("192.0.2.1") && at("192.0.2.2"));
        for last in 1..=3 {
            assert!(at(&format!("2001:db8::{last}")));
        }
        assert!(!at("2001:db8::4") && at("2001:db8:0:1::1"));
    }
}
