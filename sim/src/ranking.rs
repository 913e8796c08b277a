//! Who holds which bucket, when a thousand peers have to know it at every moment.

use cas::{Algorithm, Score};
use replication::{Bucket, PeerId, Placement};

/// How many peers of each bucket are remembered; who holds it is nearly always among these.
const REMEMBERED: usize = 64;

/// For each bucket the peers that should hold it most, of all that there will ever be.
///
/// A peer's weight does not depend on the others, so the holders among those that are live are the first live ones of
/// this list: [`Placement`] is asked once and not at each change.
pub(crate) struct Ranking {
    everybody: Placement,
    /// Numbers of peers.
    ranked: Vec<Vec<u16>>,
    buckets: Vec<Vec<Bucket>>,
}

impl Ranking {
    /// Of the peers with the numbers below `peers`.
    pub(crate) fn new(peers: u16) -> Self {
        let everybody = Placement::new((0..peers).map(peer_id).collect(), usize::from(peers));
        let mut buckets = vec![Vec::new(); usize::from(peers)];
        let mut ranked = Vec::with_capacity(1 << 16);
        for bucket in Bucket::all() {
            let first: Vec<u16> = everybody.ranked(bucket).iter().take(REMEMBERED).map(number).collect();
            for peer in &first {
                buckets[usize::from(*peer)].push(bucket);
            }
            ranked.push(first);
        }
        Self { everybody, ranked, buckets }
    }

    /// The first `count` for which `live` holds.
    pub(crate) fn holders(&self, bucket: Bucket, count: usize, live: &[bool]) -> Vec<u16> {
        let is_live = |peer: &u16| live[usize::from(*peer)];
        let ranked = &self.ranked[usize::from(bucket.number())];
        let found: Vec<_> = ranked.iter().copied().filter(is_live).take(count).collect();
        if found.len() == count || ranked.len() == self.everybody.peers().len() {
            return found;
        }
        self.everybody.ranked(bucket).iter().map(number).filter(is_live).take(count).collect()
    }

    /// The buckets that a peer may come to hold.
    pub(crate) fn buckets(&self, peer: u16) -> &[Bucket] {
        &self.buckets[usize::from(peer)]
    }
}

/// The id of a peer: random, with its number at the end.
pub(crate) fn peer_id(number: u16) -> PeerId {
    let mut id = *Score::of(Algorithm::Blake3, &number.to_be_bytes()).digest();
    id[30..].copy_from_slice(&number.to_be_bytes());
    PeerId::from_bytes(id)
}

/// The number of a peer.
pub(crate) fn number(peer: &PeerId) -> u16 {
    let [.., high, low] = *peer.as_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_placement_among_the_live() {
        let ranking = Ranking::new(100);
        for sparse in [2, 3, 40] {
            let live: Vec<_> = (0..100).map(|peer| peer % sparse == 1).collect();
            let ids = (0..100).filter(|peer| live[usize::from(*peer)]).map(peer_id).collect();
            let placement = Placement::new(ids, 3);
            for bucket in Bucket::all().step_by(97) {
                let expected: Vec<_> = placement.holders(bucket).iter().map(number).collect();
                assert_eq!(ranking.holders(bucket, 3, &live), expected);
                let expected: Vec<_> = placement.root_holders(bucket).iter().map(number).collect();
                assert_eq!(ranking.holders(bucket, 6, &live), expected);
            }
        }
    }
}
