//! Write tokens: who sends one back received it at that address, and so can be reached there (BEP 5).

use std::{net::IpAddr, time::Duration};

use crate::Target;

/// How long a secret makes new tokens. A token is good for one to two of these.
pub const SECRET_LIFE: Duration = Duration::from_mins(5);

/// Makes and checks tokens: keyed BLAKE3 of address and target, cut to 8 bytes.
///
/// Nothing is remembered of a token. Time is the time since any fixed moment; it never goes back.
pub struct Tokens {
    secret: [u8; 32],
    before: [u8; 32],
    made: Duration,
}

impl Tokens {
    /// Length of a token in bytes. Some nodes keep no more than 127 of another's.
    pub const LENGTH: usize = 8;

    /// Tokens from a first secret.
    pub const fn new(secret: [u8; 32], now: Duration) -> Self {
        // The secret before is one that no token was made with.
        Self { secret, before: [0; 32], made: now }
    }

    /// Whether it is time for another secret.
    pub fn is_stale(&self, now: Duration) -> bool {
        now.saturating_sub(self.made) >= SECRET_LIFE
    }

    /// Goes on with another secret. What the old one made stays good until the next call.
    pub fn rotate(&mut self, secret: [u8; 32], now: Duration) {
        // After a long sleep the old one is too old for that.
        self.before = if now.saturating_sub(self.made) < 2 * SECRET_LIFE { self.secret } else { secret };
        self.secret = secret;
        self.made = now;
    }

    /// The token for an address and a target.
    pub fn token(&self, address: IpAddr, target: &Target) -> [u8; Self::LENGTH] {
        make(&self.secret, address, target)
    }

    /// Whether a token is one that this address got for this target.
    pub fn is_good(&self, token: &[u8], address: IpAddr, target: &Target) -> bool {
        // Every secret is tried, and every byte compared: the time says nothing of how near a guess was.
        let made = [self.secret, self.before].map(|secret| make(&secret, address, target));
        let equal = |made: &[u8; Self::LENGTH]| made.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0;
        let [with_secret, with_before] = [equal(&made[0]), equal(&made[1]) && self.before != [0; 32]];
        token.len() == Self::LENGTH && (with_secret | with_before)
    }
}

fn make(secret: &[u8; 32], address: IpAddr, target: &Target) -> [u8; Tokens::LENGTH] {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    match address {
        IpAddr::V4(address) => hasher.update(&address.octets()),
        IpAddr::V6(address) => hasher.update(&address.octets()),
    };
    hasher.update(target.as_bytes());
    let mut token = [0; Tokens::LENGTH];
    hasher.finalize_xof().fill(&mut token);
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(1, 2, 3, 4));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(1, 2, 3, 5));

    #[test]
    fn a_token_is_for_one_address_and_one_target() {
        let tokens = Tokens::new([1; 32], Duration::ZERO);
        let [one, other] = [Target::from_bytes([1; 20]), Target::from_bytes([2; 20])];
        let token = tokens.token(HERE, &one);
        assert!(tokens.is_good(&token, HERE, &one));
        assert!(!tokens.is_good(&token, THERE, &one));
        assert!(!tokens.is_good(&token, HERE, &other));
        assert!(!tokens.is_good(&token[..7], HERE, &one));
        assert!(!tokens.is_good(b"", HERE, &one));
        assert!(!tokens.is_good(&make(&[0; 32], HERE, &one), HERE, &one), "a secret that nobody made is none");
    }

    #[test]
    fn a_token_lives_five_to_ten_minutes() {
        let target = Target::from_bytes([1; 20]);
        let mut tokens = Tokens::new([1; 32], Duration::ZERO);
        let token = tokens.token(HERE, &target);
        assert!(!tokens.is_stale(Duration::from_secs(299)));
        assert!(tokens.is_stale(SECRET_LIFE));
        tokens.rotate([2; 32], SECRET_LIFE);
        assert!(tokens.is_good(&token, HERE, &target));
        tokens.rotate([3; 32], 2 * SECRET_LIFE);
        assert!(!tokens.is_good(&token, HERE, &target));
        let token = tokens.token(HERE, &target);
        tokens.rotate([4; 32], Duration::from_hours(365 * 24));
        assert!(!tokens.is_good(&token, HERE, &target), "a year later it is good for nothing");
    }
}
