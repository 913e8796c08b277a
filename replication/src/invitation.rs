//! The text by which somebody joins a pool.

use std::{fmt, net::SocketAddr, str::FromStr};

use crate::{PeerId, PeerKey, PoolId};

/// Most addresses in an invitation.
const MAX_ADDRESSES: usize = 4;

const PREFIX: &str = "offs-pool:";
const VERSION: u8 = 1;
const CHECKSUM: usize = 4;
const HEAD: usize = 1 + 32 + 16 + PeerId::BINARY;
const LONGEST: usize = HEAD + MAX_ADDRESSES * 19 + CHECKSUM;

/// What somebody needs to join a pool. Its text is a secret: whoever has it can join.
///
/// Binary form: version 1, pool (32), seed (16), inviter (32), then for each address its IP version (4 or 6), IP (4
/// or 16) and port (2, big-endian), and the first 4 bytes of BLAKE3 of all that.
/// Text form: `offs-pool:` and that in base58 with Bitcoin's alphabet.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    pool: PoolId,
    seed: [u8; 16],
    inviter: PeerId,
    addresses: Vec<SocketAddr>,
}

/// Why a text is no invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// It does not begin like one.
    #[error("not an invitation: it begins with {PREFIX}")]
    Prefix,
    /// A letter that base58 does not have.
    #[error("the invitation is mistyped: it cannot have {letter:?}")]
    Letter {
        /// The first such letter.
        letter: char,
    },
    /// The checksum is not right.
    #[error("the invitation is mistyped, or a part of it is missing")]
    Checksum,
    /// The text is longer than any.
    #[error("the invitation is too long: something follows it")]
    Long,
    /// A newer form.
    #[error("the invitation has version {0}, which this program does not know")]
    Version(u8),
    /// An address that cannot be one.
    #[error("the invitation's addresses cannot be right")]
    Addresses,
}

impl Invitation {
    /// An invitation of a pool by a member who is reached at these addresses. Those with port 0 and those after the
    /// fourth are left out. The seed is random.
    pub fn new(pool: PoolId, seed: [u8; 16], inviter: PeerId, addresses: &[SocketAddr]) -> Self {
        let usable = addresses.iter().filter(|address| address.port() != 0).take(MAX_ADDRESSES);
        // Without the scope of an IPv6 address, which means nothing on another machine.
        let addresses = usable.map(|address| SocketAddr::new(address.ip(), address.port())).collect();
        Self { pool, seed, inviter, addresses }
    }

    /// The pool.
    pub const fn pool(&self) -> PoolId {
        self.pool
    }

    /// Who made it.
    pub const fn inviter(&self) -> PeerId {
        self.inviter
    }

    /// Where the inviter was reached.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The key whose public half is in the log: its seed is BLAKE3's `derive_key` of the invitation's seed.
    pub fn key(&self) -> PeerKey {
        PeerKey::from_seed(blake3::derive_key("offs 2026 pool invitation", &self.seed))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [&[VERSION][..], self.pool.as_bytes(), &self.seed, self.inviter.as_bytes()].concat();
        for address in &self.addresses {
            bytes.push(if address.is_ipv4() { 4 } else { 6 });
            krpc::push_address(&mut bytes, address);
        }
        bytes.extend(checksum(&bytes));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, InvitationError> {
        // The checksum is first: without it a mistyped text would seem to be of a newer version.
        let (bytes, found) = bytes.split_last_chunk::<CHECKSUM>().ok_or(InvitationError::Checksum)?;
        if checksum(bytes) != *found {
            return Err(InvitationError::Checksum);
        }
        let (version, rest) = bytes.split_first().ok_or(InvitationError::Checksum)?;
        if *version != VERSION {
            return Err(InvitationError::Version(*version));
        }
        let (pool, rest) = rest.split_first_chunk().ok_or(InvitationError::Checksum)?;
        let (seed, rest) = rest.split_first_chunk().ok_or(InvitationError::Checksum)?;
        let (inviter, rest) = rest.split_first_chunk().ok_or(InvitationError::Checksum)?;
        let addresses = addresses(rest).ok_or(InvitationError::Addresses)?;
        Ok(Self { pool: PoolId::from_bytes(*pool), seed: *seed, inviter: PeerId::from_bytes(*inviter), addresses })
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    blake3::hash(bytes).as_bytes().first_chunk().copied().unwrap_or_default()
}

fn addresses(mut bytes: &[u8]) -> Option<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    while let Some((version, rest)) = bytes.split_first() {
        let length = match version {
            4 => 6,
            6 => 18,
            _ => return None,
        };
        let (address, rest) = rest.split_at_checked(length)?;
        addresses.push(krpc::parse_address(address)?);
        bytes = rest;
    }
    (addresses.len() <= MAX_ADDRESSES).then_some(addresses)
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", bs58::encode(self.to_bytes()).into_string())
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation(to {} by {})", self.pool, self.inviter)
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let digits = text.strip_prefix(PREFIX).ok_or(InvitationError::Prefix)?;
        // 138 digits hold at least 100 bytes. Decoding base58 takes quadratic time, so the bound is first.
        if digits.len() > LONGEST * 138 / 100 + 1 {
            return Err(InvitationError::Long);
        }
        let foreign = |letter: &char| !letter.is_ascii_alphanumeric() || "0OIl".contains(*letter);
        if let Some(letter) = digits.chars().find(foreign) {
            return Err(InvitationError::Letter { letter });
        }
        let bytes = bs58::decode(digits).into_vec().map_err(|_| InvitationError::Checksum)?;
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invitation(addresses: &[&str]) -> Invitation {
        let addresses: Vec<_> = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        Invitation::new(PoolId::from_bytes([1; 32]), [0xab; 16], PeerId::from_bytes([3; 32]), &addresses)
    }

    const FOUR: [&str; 4] = ["1.2.3.4:5", "[2001::7]:6881", "[2001::8]:1", "[2001::9]:65535"];

    #[test]
    fn text_is_read_as_written() {
        for count in 0..=4 {
            let one = invitation(&FOUR[..count]);
            assert_eq!(one.addresses().len(), count);
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert_eq!(invitation(&["[2001::9]:1"; 4]).to_string().parse(), Ok(invitation(&["[2001::9]:1"; 4])));
        assert_eq!(invitation(&["1.2.3.4:0", "1.2.3.4:1"]), invitation(&["1.2.3.4:1"]));
        assert_eq!(invitation(&[FOUR[0]; 5]).addresses().len(), 4);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let text = invitation(&FOUR).to_string();
        for end in PREFIX.len()..text.len() {
            assert_eq!(text[..end].parse::<Invitation>(), Err(InvitationError::Checksum), "cut at {end}");
            let other = if text.as_bytes()[end] == b'z' { "y" } else { "z" };
            let mistyped = format!("{}{other}{}", &text[..end], &text[end + 1..]);
            assert_eq!(mistyped.parse::<Invitation>(), Err(InvitationError::Checksum), "{mistyped}");
        }
        let with = |bytes: &[u8]| {
            let whole = [bytes, &checksum(bytes)].concat();
            format!("{PREFIX}{}", bs58::encode(whole).into_string()).parse::<Invitation>()
        };
        let bytes = invitation(&[]).to_bytes();
        let bytes = &bytes[..HEAD];
        assert!(with(bytes).is_ok());
        assert_eq!(with(&[&[2], &bytes[1..]].concat()), Err(InvitationError::Version(2)));
        for tail in [&[4, 1, 2, 3, 4, 0, 0][..], &[4, 1, 2, 3, 4, 0], &[5], &[4, 1, 2, 3, 4, 0, 1].repeat(5)] {
            assert_eq!(with(&[bytes, tail].concat()), Err(InvitationError::Addresses), "{tail:?}");
        }
        assert_eq!("http://x".parse::<Invitation>(), Err(InvitationError::Prefix));
        assert_eq!("offs-pool:a0".parse::<Invitation>(), Err(InvitationError::Letter { letter: '0' }));
        assert_eq!(format!("{text}{text}").parse::<Invitation>(), Err(InvitationError::Long));
    }

    #[test]
    fn the_seed_is_not_shown() {
        let shown = format!("{:?} {:?}", invitation(&FOUR), invitation(&FOUR).key());
        assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(offs-pool:)?.{0,60}") {
            prop_assert!(text.parse::<Invitation>().is_err());
        }
    }
}
