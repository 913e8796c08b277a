//! Looking after pins: that every block of them has its copies.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cas::Score;
use offs::{OffUrl, Reference};
use replication::PeerId;
use tokio::task::spawn_blocking;

use crate::{
    daemon::stop::Stop,
    failure::Failure,
    peers::{Peers, lock, pooled_store::PooledStore, push::Spread},
};

/// How often pins are looked after.
const EVERY: Duration = Duration::from_hours(1);
/// How often at first while some have too few copies, unless peers are given up sooner.
const SOON: Duration = Duration::from_mins(2);
/// How long after a change of the members, or of who is live.
const SETTLING: Duration = Duration::from_secs(5);

/// What is pinned, when it is asked for: by a URL, or by an object in a bucket.
pub(crate) type Pinned = Arc<dyn Fn() -> Result<Vec<Reference>, Failure> + Send + Sync>;

/// Looks after pins until it is told to stop.
pub(crate) async fn run(peers: Arc<Peers>, pinned: Pinned, mut stop: Stop) {
    let first = SOON.min(peers.settings.patience.grace);
    let endangered = || peers.figures.endangered.load(Ordering::Relaxed);
    let mut live = Vec::new();
    // The most that each had since the last look.
    let mut held: BTreeMap<PeerId, u64> = BTreeMap::new();
    let mut soon = first;
    let mut looked: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.asked() => return,
            () = tokio::time::sleep(SETTLING) => {}
        }
        let now_live = peers.live();
        let now_held = peers.held(&now_live);
        let mut fewer = false;
        for (peer, now) in &now_held {
            let most = held.entry(*peer).or_default();
            fewer |= *now < *most;
            *most = (*most).max(*now);
        }
        // What is endangered is looked at again soon; so is everything when somebody has fewer blocks than before, who
        // may have dropped some of these.
        let before = endangered();
        let worried = before > 0 || fewer;
        let every = if worried { soon } else { EVERY };
        let due = looked.is_none_or(|at| at.elapsed() > every) || now_live != live;
        if !due || now_live.len() < 2 {
            continue;
        }
        tokio::select! {
            () = stop.asked() => return,
            done = peers.care_for(&pinned) => if !done { continue },
        }
        // What looking does not change is looked at less and less.
        let same = worried && now_live == live && endangered() == before;
        soon = if same { (2 * soon).min(EVERY) } else { first };
        (live, held, looked) = (now_live, now_held, Some(Instant::now()));
    }
}

impl Peers {
    /// How many blocks each of some peers said that it has.
    fn held(&self, of: &[PeerId]) -> BTreeMap<PeerId, u64> {
        of.iter().filter_map(|peer| Some((*peer, self.state(peer).status?.blocks))).collect()
    }

    /// Counts the copies of every pinned block and pushes what is missing. `false` when it is not known what is pinned.
    async fn care_for(self: &Arc<Self>, pinned: &Pinned) -> bool {
        let (mut endangered, mut looked_at) = (0, 0);
        let pinned = {
            let pinned = Arc::clone(pinned);
            spawn_blocking(move || pinned()).await.unwrap_or(Err(Failure::Worker))
        };
        let pinned = match pinned {
            Ok(pinned) => pinned,
            // What was counted before is not made better by that.
            Err(failure) => {
                tracing::warn!(%failure, "the pins cannot be read");
                return false;
            }
        };
        for reference in pinned {
            let root = reference.root;
            match self.closure(reference).await {
                Ok(blocks) => {
                    let spread = self.spread(&blocks, None, &[], true).await;
                    endangered += spread.short as u64;
                    looked_at += spread.blocks as u64;
                }
                Err(failure) => {
                    tracing::warn!(%root, %failure, "a pin cannot be followed");
                    // Of at least one block nobody has a copy.
                    endangered += 1;
                    looked_at += 1;
                }
            }
            self.figures.endangered.store(endangered, Ordering::Relaxed);
            self.figures.looked_at.store(looked_at, Ordering::Relaxed);
        }
        self.figures.endangered.store(endangered, Ordering::Relaxed);
        self.figures.looked_at.store(looked_at, Ordering::Relaxed);
        *lock(&self.figures.last_care) = Some(Instant::now());
        true
    }

    /// Every block that a root needs, each once, the root last.
    pub(crate) async fn closure(self: &Arc<Self>, reference: Reference) -> Result<Vec<Score>, Failure> {
        let store = PooledStore::new(self);
        let listed = spawn_blocking(move || {
            let (mut seen, mut blocks) = (HashSet::new(), Vec::new());
            offs::list(&store, &reference, &mut |score| {
                if *score != reference.root && seen.insert(*score) {
                    blocks.push(*score);
                }
            })?;
            blocks.push(reference.root);
            Ok(blocks)
        });
        listed.await.unwrap_or(Err(Failure::Worker))
    }

    /// Gives what a URL needs to peers, and says how far that went.
    pub(crate) async fn replicate(
        self: &Arc<Self>,
        url: &OffUrl,
        copies: Option<usize>,
        to: &[PeerId],
        push: bool,
    ) -> Result<Spread, Failure> {
        let blocks = self.closure(url.reference.clone()).await?;
        Ok(self.spread(&blocks, copies, to, push).await)
    }
}
