//! Which peers hold a block.

use cas::Score;

use crate::PeerId;

/// The scores that begin with the same 16 bits; all of them have the same holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// How many there are.
    pub const COUNT: u32 = 1 << 16;

    /// The bucket with a number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The bucket of a score: the first two bytes of its digest, big-endian.
    pub const fn of(score: &Score) -> Self {
        let digest = score.digest();
        Self(u16::from_be_bytes([digest[0], digest[1]]))
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// All of them, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u16::MAX).map(Self)
    }
}

/// Which peers hold which bucket: highest random weight (Thaler and Ravishankar, "Using name-based mappings to
/// increase hit rates", 1998).
///
/// A peer's weight for a bucket is the first 8 bytes, big-endian, of BLAKE3(peer id, bucket big-endian); the heaviest
/// hold it. So each of n peers holds an n-th whatever the ids are, and when one comes or goes only its own
/// share moves. (With the nearest by XOR of one key for each peer, the largest share among 12 peers is some
/// five times the smallest.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    peers: Vec<PeerId>,
    replicas: usize,
}

impl Placement {
    /// Among `peers`, in any order, `replicas` of which hold a block.
    pub fn new(mut peers: Vec<PeerId>, replicas: usize) -> Self {
        peers.sort_unstable();
        peers.dedup();
        Self { peers, replicas }
    }

    /// The peers that blocks are placed on, ascending.
    pub fn peers(&self) -> &[PeerId] {
        &self.peers
    }

    /// How many of them hold a block.
    pub const fn replicas(&self) -> usize {
        self.replicas
    }

    /// All peers, who should hold the bucket most first.
    pub fn ranked(&self, bucket: Bucket) -> Vec<PeerId> {
        let mut weighed: Vec<_> = self.peers.iter().map(|peer| (weight(peer, bucket), *peer)).collect();
        weighed.sort_unstable_by(|a, b| b.cmp(a));
        weighed.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Those that hold the bucket: the first [`Placement::replicas`] of [`Placement::ranked`].
    pub fn holders(&self, bucket: Bucket) -> Vec<PeerId> {
        let mut ranked = self.ranked(bucket);
        ranked.truncate(self.replicas);
        ranked
    }

    /// Those that hold a root: as many again, because nothing can rebuild one.
    pub fn root_holders(&self, bucket: Bucket) -> Vec<PeerId> {
        let mut ranked = self.ranked(bucket);
        ranked.truncate(2 * self.replicas);
        ranked
    }

    /// Those that hold a block of the bucket, or a root when it is one.
    pub fn holders_of(&self, bucket: Bucket, root: bool) -> Vec<PeerId> {
        if root { self.root_holders(bucket) } else { self.holders(bucket) }
    }

    /// BLAKE3 of the number of replicas, 8 bytes big-endian, and the peer ids, ascending: two placements with the same
    /// one put every block on the same peers.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.replicas as u64).to_be_bytes());
        for peer in &self.peers {
            hasher.update(peer.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Whether a peer holds the bucket.
    pub fn holds(&self, peer: &PeerId, bucket: Bucket) -> bool {
        let own = (weight(peer, bucket), *peer);
        let heavier = self.peers.iter().filter(|other| (weight(other, bucket), **other) > own).count();
        heavier < self.replicas && self.peers.binary_search(peer).is_ok()
    }
}

fn weight(peer: &PeerId, bucket: Bucket) -> u64 {
    let mut named = [0; PeerId::BINARY + 2];
    named[..PeerId::BINARY].copy_from_slice(peer.as_bytes());
    named[PeerId::BINARY..].copy_from_slice(&bucket.number().to_be_bytes());
    let hash = blake3::hash(&named);
    u64::from_be_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn peers(count: u8) -> Vec<PeerId> {
        (0..count).map(|n| PeerId::from_bytes([n; 32])).collect()
    }

    #[test]
    fn shares_are_even() {
        let placement = Placement::new(peers(12), 3);
        let mut shares = BTreeMap::<PeerId, u32>::new();
        for bucket in Bucket::all() {
            for peer in placement.holders(bucket) {
                assert!(placement.holds(&peer, bucket));
                *shares.entry(peer).or_default() += 1;
            }
        }
        let even = Bucket::COUNT * 3 / 12;
        assert!(shares.values().all(|share| share.abs_diff(even) < even / 20), "{shares:?}");
    }

    #[test]
    fn only_the_share_of_who_left_moves() {
        let before = Placement::new(peers(12), 3);
        let after = Placement::new(peers(11), 3);
        let gone = PeerId::from_bytes([11; 32]);
        for bucket in Bucket::all().step_by(7) {
            let (old, new) = (before.holders(bucket), after.holders(bucket));
            if old.contains(&gone) {
                assert!(old.iter().all(|peer| *peer == gone || new.contains(peer)));
                assert!(!after.holds(&gone, bucket));
            } else {
                assert_eq!(old, new);
            }
        }
    }

    #[test]
    fn fewer_peers_than_replicas_hold_everything() {
        let placement = Placement::new(peers(2), 3);
        assert_eq!(placement.holders(Bucket::new(5)).len(), 2);
        assert_eq!(Placement::new(peers(5), 3).root_holders(Bucket::new(5)).len(), 5);
    }
}
