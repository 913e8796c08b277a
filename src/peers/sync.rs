//! Finding out what came at other peers and belongs here.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cas::{BlockStore as _, Change, Score};
use replication::{Arrived, Bucket, MOST_SCORES, PeerId, Placement, Word};

use tokio::task::block_in_place;

use crate::{
    daemon::stop::Stop,
    peers::{Peers, link::LinkError},
};

/// How often every peer is asked, if nothing gives reason to before.
const EVERY: Duration = Duration::from_mins(10);
/// Shortest time between two rounds.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of a peer's log: its epoch, and the last arrival that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    epoch: u64,
    after: u64,
}

/// The key of the note that keeps a cursor.
fn key(peer: &PeerId) -> Vec<u8> {
    [&b"cursor/"[..], peer.as_bytes()].concat()
}

/// Looks for what is new, until it is told to stop.
pub(crate) async fn run(peers: Arc<Peers>, mut stop: Stop) {
    // What this peer held when it looked through everything that another one has.
    let mut held: HashMap<PeerId, Placement> = HashMap::new();
    let mut all: Option<Instant> = None;
    loop {
        let everybody = all.is_none_or(|at| at.elapsed() > EVERY);
        if everybody {
            all = Some(Instant::now());
        }
        count_behind(&peers, &held);
        for peer in peers.others() {
            if !peers.is_askable(&peer) {
                continue;
            }
            let looked = tokio::select! {
                () = stop.asked() => return,
                looked = peers.look_at(&peer, everybody, &mut held) => looked,
            };
            if let Err(error) = looked {
                peers.failed(&peer, &error);
            }
        }
        count_behind(&peers, &held);
        let seen = peers.live();
        tokio::select! {
            () = stop.asked() => return,
            () = tokio::time::sleep(EVERY / 20) => {}
            () = async { tokio::time::sleep(PAUSE).await; peers.look.notified().await } => {}
            () = changed(&peers, &seen) => {}
        }
    }
}

/// Notes how many peers are still to be looked through.
fn count_behind(peers: &Peers, held: &HashMap<PeerId, Placement>) {
    let placement = peers.placement();
    let behind = placement.peers().iter().filter(|peer| **peer != peers.id() && held.get(peer) != Some(&placement));
    peers.figures.behind.store(behind.count() as u64, Ordering::Relaxed);
}

/// Returns when others are live than were.
async fn changed(peers: &Peers, seen: &[PeerId]) {
    while peers.live() == seen {
        tokio::time::sleep(PAUSE).await;
    }
}

impl Peers {
    /// Takes note of what a peer has that belongs here.
    async fn look_at(
        self: &Arc<Self>,
        peer: &PeerId,
        anyway: bool,
        held: &mut HashMap<PeerId, Placement>,
    ) -> Result<(), LinkError> {
        let placement = self.placement();
        let known = self.cursor(peer);
        if held.get(peer) != Some(&placement) {
            // The first time since this process began the cursor alone says what is new: the share is the same
            // unless members came or went meanwhile, and then they are missing from what is listed as live.
            let first = held.is_empty() || !held.contains_key(peer);
            let same = first && known.is_some() && self.had_placement(peer, &placement);
            if !same {
                let cursor = self.list(peer, &placement, held.get(peer)).await?;
                self.keep_cursor(peer, cursor);
                self.keep_note(placement_key(peer), placement.digest().to_vec());
            }
            held.insert(*peer, placement.clone());
        }
        let mut cursor = self.cursor(peer).unwrap_or_default();
        let news =
            self.state(peer).status.is_none_or(|status| (status.epoch, status.last) != (cursor.epoch, cursor.after));
        if !news && !anyway {
            return Ok(());
        }
        loop {
            let word = Word::Since { epoch: cursor.epoch, after: cursor.after, limit: MOST_SCORES as u64 };
            let arrived = self.arrived(peer, &word).await?;
            if arrived.epoch != cursor.epoch {
                cursor = self.list(peer, &placement, None).await?;
                self.keep_cursor(peer, cursor);
                return Ok(());
            }
            block_in_place(|| self.note(peer, &placement, &arrived))?;
            let more = arrived.more && arrived.next > cursor.after;
            cursor.after = arrived.next;
            self.keep_cursor(peer, cursor);
            if !more {
                return Ok(());
            }
        }
    }

    async fn arrived(self: &Arc<Self>, peer: &PeerId, word: &Word) -> Result<Arrived, LinkError> {
        let results = self.link(peer).await?.say(word).await?;
        self.heard(peer);
        Arrived::from_bencode(&results).ok_or(LinkError::Wrong { what: "arrivals that are none" })
    }

    /// Looks through all that a peer has in the buckets that are held here, and were not before.
    async fn list(
        self: &Arc<Self>,
        peer: &PeerId,
        placement: &Placement,
        before: Option<&Placement>,
    ) -> Result<Cursor, LinkError> {
        // What arrives while the list is read is seen by the cursor afterwards.
        let here = self.arrived(peer, &Word::Since { epoch: 0, after: u64::MAX - 1, limit: 1 }).await?;
        let cursor = Cursor { epoch: here.epoch, after: here.next };
        let mut buckets = vec![0_u8; 8192];
        let mut any = false;
        let id = self.id();
        for bucket in Bucket::all() {
            // Roots have twice as many holders: who had to hold those of a bucket may now have to hold all of it.
            let is_new = |root: bool| {
                let held = |placement: &Placement| placement.holders_of(bucket, root).contains(&id);
                held(placement) && !before.is_some_and(held)
            };
            if is_new(false) || is_new(true) {
                buckets[usize::from(bucket.number() / 8)] |= 128 >> (bucket.number() % 8);
                any = true;
            }
        }
        let mut from = any.then_some(0_u16);
        while let Some(at) = from {
            let arrived = self.arrived(peer, &Word::List { from: at, buckets: buckets.clone() }).await?;
            block_in_place(|| self.note(peer, placement, &arrived))?;
            let next = u16::try_from(arrived.next).ok().filter(|next| arrived.more && *next > at);
            from = next;
        }
        Ok(cursor)
    }

    /// Queues what belongs here and is not here.
    fn note(&self, peer: &PeerId, placement: &Placement, arrived: &Arrived) -> Result<(), LinkError> {
        let failed = |error: cas::Error| LinkError::Io(std::io::Error::other(error));
        let id = self.id();
        for (score, root) in arrived.scores.iter().zip(&arrived.roots) {
            let ours = placement.holders_of(Bucket::of(score), *root).contains(&id);
            let lacking = |score: &Score| {
                Ok::<_, cas::Error>(!self.store.contains(score)? || *root && !self.store.is_root(score)?)
            };
            if ours && lacking(score).map_err(failed)? {
                self.repairs.add(self, *score, *root, *peer);
            }
        }
        Ok(())
    }

    fn cursor(&self, peer: &PeerId) -> Option<Cursor> {
        let note = self.store.note(&key(peer)).ok().flatten()?;
        let (epoch, after) = note.split_first_chunk()?;
        Some(Cursor { epoch: u64::from_be_bytes(*epoch), after: u64::from_be_bytes(after.try_into().ok()?) })
    }

    /// Keeps a cursor, after what it stands for is in the queue of repairs.
    fn keep_cursor(&self, peer: &PeerId, cursor: Cursor) {
        // Waiting for the disk must not keep links waiting.
        block_in_place(|| self.repairs.save(self));
        let note = [cursor.epoch.to_be_bytes(), cursor.after.to_be_bytes()].concat();
        self.keep_note(key(peer), note);
    }

    fn keep_note(&self, key: Vec<u8>, note: Vec<u8>) {
        if let Err(error) = self.store.write_notes(&[Change::Put(key, note)]) {
            // It will be looked through again.
            tracing::warn!(%error, "a note is not kept");
        }
    }

    /// Whether this was the placement when everything that the peer has was looked through.
    fn had_placement(&self, peer: &PeerId, placement: &Placement) -> bool {
        let noted = self.store.note(&placement_key(peer)).ok().flatten();
        noted.is_some_and(|noted| noted == placement.digest())
    }
}

/// The key of the note that keeps for which placement a peer was looked through.
fn placement_key(peer: &PeerId) -> Vec<u8> {
    [&b"placement/"[..], peer.as_bytes()].concat()
}
