//! What others say that our address is (BEP 42's `ip`).

use std::{collections::VecDeque, net::IpAddr};

/// The last votes, one of each network.
#[derive(Default)]
pub(crate) struct Votes {
    votes: VecDeque<Vote>,
}

struct Vote {
    /// The voter's network: a /16, or a /32 of IPv6.
    voter: [u8; 4],
    address: IpAddr,
}

impl Votes {
    /// Votes that are kept.
    const MOST: usize = 32;
    /// How many networks must agree.
    const QUORUM: usize = 5;

    /// Takes a vote and returns the address that enough networks agree on: at least five, and two thirds of all.
    pub(crate) fn vote(&mut self, voter: IpAddr, address: IpAddr) -> Option<IpAddr> {
        let voter = match voter {
            IpAddr::V4(voter) => {
                let [a, b, ..] = voter.octets();
                [a, b, 0, 0]
            }
            IpAddr::V6(voter) => {
                let [a, b, c, d, ..] = voter.octets();
                [a, b, c, d]
            }
        };
        self.votes.retain(|vote| vote.voter != voter);
        if self.votes.len() == Self::MOST {
            self.votes.pop_front();
        }
        self.votes.push_back(Vote { voter, address });
        let agree = self.votes.iter().filter(|vote| vote.address == address).count();
        (agree >= Self::QUORUM && 3 * agree >= 2 * self.votes.len()).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_has_one_vote() {
        let mut votes = Votes::default();
        let [here, lie] = ["9.9.9.9", "6.6.6.6"].map(|address| address.parse().expect("an address"));
        for last in 0..100 {
            assert_eq!(votes.vote(IpAddr::from([5, 5, 1, last]), lie), None);
        }
        for network in 1..=4 {
            assert_eq!(votes.vote(IpAddr::from([7, network, 1, 1]), here), None);
        }
        assert_eq!(votes.vote(IpAddr::from([7, 5, 1, 1]), here), Some(here));
        // As many liars as honest voters: no agreement.
        for network in 1..=5 {
            assert_eq!(votes.vote(IpAddr::from([6, network, 1, 1]), lie), None);
        }
        assert_eq!(votes.vote(IpAddr::from([7, 5, 1, 1]), here), None);
    }
}
