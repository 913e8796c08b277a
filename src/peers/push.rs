//! Giving blocks to those that hold them.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    io,
    sync::{Arc, Mutex, atomic::Ordering},
};

use cas::{BlockStore as _, Score};
use replication::{Bits, Bucket, MOST_SCORES, PeerId, Word};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    daemon::stop::Stop,
    failure::Failure,
    peers::{
        Peers,
        link::{Link, LinkError},
        lock,
    },
};

/// Blocks that wait to be pushed. What finds no room is pushed when the pins are looked after.
const MOST_WAITING: usize = 65_536;
/// Blocks that are offered at once.
const OFFERED: usize = 256;
/// Blocks on their way to one peer at once.
const AT_ONCE: usize = 16;

/// Blocks that were just put here.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<VecDeque<(Score, bool)>>,
    wake: Notify,
}

impl Spread {
    /// Whether each block has as many copies as were asked for.
    pub(crate) fn kept(&self, wanted: usize) -> Result<(), Failure> {
        if self.short == 0 {
            return Ok(());
        }
        Err(Failure::Copies { short: self.short, blocks: self.blocks, wanted, copies: self.copies })
    }
}

impl Queue {
    /// A block was put; `root` when nothing else can rebuild it.
    pub(crate) fn add(&self, score: Score, root: bool) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() < MOST_WAITING {
            waiting.push_back((score, root));
            if waiting.len() == 1 {
                self.wake.notify_one();
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.waiting).len()
    }

    fn take(&self) -> Vec<(Score, bool)> {
        let mut waiting = lock(&self.waiting);
        let count = waiting.len().min(OFFERED);
        waiting.drain(..count).collect()
    }
}

/// Where blocks are to be, by peer.
type Targets = BTreeMap<PeerId, Vec<(Score, bool)>>;

/// What became of replicating a root.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// Blocks that the root needs, itself included.
    pub(crate) blocks: usize,
    /// Copies of the block that has the fewest, on stable storage at other peers.
    pub(crate) copies: usize,
    /// Blocks with fewer copies than were asked for.
    pub(crate) short: usize,
    /// Blocks at each peer.
    pub(crate) at: BTreeMap<PeerId, usize>,
    /// Why a peer does not have what it should.
    pub(crate) failed: BTreeMap<PeerId, String>,
}

/// Pushes what is put here, until it is told to stop.
pub(crate) async fn run(peers: Arc<Peers>, mut stop: Stop) {
    loop {
        tokio::select! {
            () = stop.asked() => return,
            () = peers.pushes.wake.notified() => {}
        }
        loop {
            let batch = peers.pushes.take();
            if batch.is_empty() {
                break;
            }
            let placement = peers.placement();
            let mut targets = Targets::new();
            for (score, root) in batch {
                let holders = placement.holders_of(Bucket::of(&score), root);
                for peer in holders.into_iter().filter(|peer| *peer != peers.id() && peers.is_askable(peer)) {
                    targets.entry(peer).or_default().push((score, root));
                }
            }
            tokio::select! {
                () = stop.asked() => return,
                _failed = peers.push_all(targets) => {}
            }
        }
    }
}

impl Peers {
    /// Pushes to several peers at once; gives back who failed, and why.
    async fn push_all(self: &Arc<Self>, targets: Targets) -> BTreeMap<PeerId, String> {
        let mut under_way = JoinSet::new();
        for (peer, blocks) in targets {
            let peers = Arc::clone(self);
            under_way.spawn(async move { (peer, peers.push_to(&peer, &blocks).await) });
        }
        let mut failed = BTreeMap::new();
        while let Some(joined) = under_way.join_next().await {
            if let Ok((peer, Err(error))) = joined {
                self.failed(&peer, &error);
                failed.insert(peer, error.to_string());
            }
        }
        failed
    }

    /// Offers blocks to a peer and pushes those that it wants.
    async fn push_to(self: &Arc<Self>, peer: &PeerId, blocks: &[(Score, bool)]) -> Result<(), LinkError> {
        let link = self.link(peer).await?;
        for offered in blocks.chunks(OFFERED) {
            let scores: Vec<_> = offered.iter().map(|(score, _)| *score).collect();
            let wanted = bits(&link, &Word::Offer { scores: scores.clone() }, scores.len()).await?;
            let mut under_way = JoinSet::new();
            for ((score, root), wanted) in offered.iter().zip(wanted) {
                // A root is given even to who has it as a block, so that it knows that it is one.
                if !wanted && !root {
                    continue;
                }
                if under_way.len() >= AT_ONCE {
                    joined(under_way.join_next().await)?;
                }
                let (peers, link, score, root) = (Arc::clone(self), link.clone(), *score, *root);
                under_way.spawn(async move { peers.push_block(&link, score, root).await });
            }
            while let Some(one) = under_way.join_next().await {
                joined(Some(one))?;
            }
        }
        Ok(())
    }

    async fn push_block(self: &Arc<Self>, link: &Link, score: Score, root: bool) -> Result<(), LinkError> {
        let store = Arc::clone(&self.store);
        let read = self.threads.run(move || store.get(&score)).await.map_err(io::Error::other)?;
        // What is gone or damaged meanwhile cannot be given; who counts copies will see it.
        let Ok(Some(block)) = read else { return Ok(()) };
        let length = block.len();
        link.put(&score, root, block.into()).await?;
        self.went(&link.peer, length);
        self.figures.pushed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Which of these blocks a peer has on stable storage.
    pub(crate) async fn have(&self, peer: &PeerId, scores: &[Score]) -> Result<Vec<bool>, LinkError> {
        let link = self.link(peer).await?;
        let mut have = Vec::with_capacity(scores.len());
        for some in scores.chunks(MOST_SCORES) {
            have.extend(bits(&link, &Word::Have { scores: some.to_vec() }, some.len()).await?);
        }
        Ok(have)
    }

    /// Gives the blocks to `copies` peers each, or to those in `to`; the last one, the root, when the others are
    /// there. With `push` false nothing is sent and only counted.
    pub(crate) async fn spread(
        self: &Arc<Self>,
        blocks: &[Score],
        copies: Option<usize>,
        to: &[PeerId],
        push: bool,
    ) -> Spread {
        let mut spread = Spread { blocks: blocks.len(), copies: usize::MAX, ..Spread::default() };
        let Some((root, others)) = blocks.split_last() else { return Spread::default() };
        for (part, is_root) in [(others, false), (std::slice::from_ref(root), true)] {
            // Whoever fails is replaced by the next in rank.
            let mut failed = HashSet::new();
            loop {
                let targets = self.targets(part, is_root, copies, to, &failed);
                if push {
                    spread.failed.extend(self.push_all(targets.clone()).await);
                }
                let (counts, at, silent) = self.count(&targets).await;
                spread.failed.extend(silent);
                let news = spread.failed.keys().filter(|peer| failed.insert(**peer)).count();
                // When the pins are looked after, who is away for a short while is waited for.
                if push && news > 0 && copies.is_some() && to.is_empty() {
                    continue;
                }
                let wanted = |score: &Score| copies.unwrap_or_else(|| self.wanted(score, is_root));
                for score in part {
                    let count = counts.get(score).copied().unwrap_or(0);
                    spread.copies = spread.copies.min(count);
                    spread.short += usize::from(count < if to.is_empty() { wanted(score) } else { to.len() });
                }
                for (peer, count) in at {
                    *spread.at.entry(peer).or_default() += count;
                }
                break;
            }
        }
        spread
    }

    /// Copies that a block should have at other peers.
    fn wanted(&self, score: &Score, root: bool) -> usize {
        let holders = self.placement().holders_of(Bucket::of(score), root);
        holders.iter().filter(|peer| **peer != self.id()).count()
    }

    fn targets(
        &self,
        blocks: &[Score],
        root: bool,
        copies: Option<usize>,
        to: &[PeerId],
        failed: &HashSet<PeerId>,
    ) -> Targets {
        let mut targets = Targets::new();
        let placement = self.placement();
        let usable = |peer: &PeerId| *peer != self.id() && !failed.contains(peer) && !self.is_banned(peer);
        // All blocks of a bucket go to the same peers.
        let mut ranked: HashMap<Bucket, Vec<PeerId>> = HashMap::new();
        for score in blocks {
            let bucket = Bucket::of(score);
            let chosen = ranked.entry(bucket).or_insert_with(|| {
                if !to.is_empty() {
                    return to.to_vec();
                }
                let count = copies.unwrap_or_else(|| self.wanted(score, root));
                let mut chosen: Vec<_> = placement.ranked(bucket).into_iter().filter(usable).collect();
                let full = |peer: &PeerId| self.state(peer).full;
                chosen.sort_by_key(|peer| (!self.is_reachable(peer), full(peer)));
                chosen.truncate(count);
                chosen
            });
            for peer in chosen {
                targets.entry(*peer).or_default().push((*score, root));
            }
        }
        targets
    }

    /// Asks the targets what they have.
    async fn count(
        self: &Arc<Self>,
        targets: &Targets,
    ) -> (HashMap<Score, usize>, BTreeMap<PeerId, usize>, BTreeMap<PeerId, String>) {
        let mut under_way = JoinSet::new();
        for (peer, blocks) in targets {
            let (peers, peer) = (Arc::clone(self), *peer);
            let scores: Vec<_> = blocks.iter().map(|(score, _)| *score).collect();
            under_way.spawn(async move {
                let have = peers.have(&peer, &scores).await;
                (peer, scores, have)
            });
        }
        let (mut counts, mut at, mut silent) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        while let Some(joined) = under_way.join_next().await {
            let Ok((peer, scores, have)) = joined else { continue };
            match have {
                Ok(have) => {
                    for score in scores.iter().zip(have).filter_map(|(score, here)| here.then_some(*score)) {
                        *counts.entry(score).or_default() += 1;
                        *at.entry(peer).or_default() += 1;
                    }
                }
                Err(error) => {
                    self.failed(&peer, &error);
                    silent.insert(peer, error.to_string());
                }
            }
        }
        (counts, at, silent)
    }
}

fn joined(one: Option<Result<Result<(), LinkError>, tokio::task::JoinError>>) -> Result<(), LinkError> {
    one.map_or(Ok(()), |joined| joined.map_err(io::Error::other)?)
}

async fn bits(link: &Link, word: &Word, count: usize) -> Result<Vec<bool>, LinkError> {
    let bits = Bits::from_bencode(&link.say(word).await?, count);
    bits.map(|bits| bits.0).ok_or(LinkError::Wrong { what: "an answer without a bit for each score" })
}
