//! Comparing, now and then, what this peer and another one both should hold.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use cas::Score;
use replication::{
    Found, PeerId, Placement, RangeQuery, RangeReply, Reconciliation, Refusal, Salt, Selection, Step, Word, answer,
};
use tokio::task::{block_in_place, spawn_blocking};

use crate::{
    daemon::stop::Stop,
    peers::{Peers, link::LinkError, lock},
};

/// How long after the start, and how often after that, everything is compared with everybody.
const EVERY: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));
/// Selections that are kept: they take a while to be made.
const KEPT: usize = 256;

/// What is held in common with each peer, by the placement for which that was found out.
#[derive(Default)]
pub(crate) struct Selections(Mutex<HashMap<PeerId, (Placement, Arc<Selection>)>>);

/// Compares until it is told to stop.
pub(crate) async fn run(peers: Arc<Peers>, mut stop: Stop) {
    let mut wait = EVERY.0;
    loop {
        tokio::select! {
            () = stop.asked() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = EVERY.1;
        for peer in peers.others() {
            if !peers.is_askable(&peer) {
                continue;
            }
            let compared = tokio::select! {
                () = stop.asked() => return,
                compared = peers.compare(&peer) => compared,
            };
            match compared {
                Ok(differences) => tracing::info!(%peer, differences, "compared"),
                // Who is live is seen the same soon; there is always a next time.
                Err(LinkError::Refused(refusal)) if refusal.code == Refusal::VIEW => {}
                Err(error) => peers.failed(&peer, &error),
            }
        }
    }
}

impl Peers {
    /// What this peer and another one both hold.
    fn selection(&self, peer: &PeerId) -> Arc<Selection> {
        let placement = self.placement();
        let mut kept = lock(&self.selections.0);
        if let Some((of, selection)) = kept.get(peer)
            && *of == placement
        {
            return Arc::clone(selection);
        }
        let selection = Arc::new(Selection::shared(&placement, &self.id(), peer));
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(*peer, (placement, Arc::clone(&selection)));
        selection
    }

    /// Finds out what differs: what we lack is queued, what the other lacks is pushed. How many blocks differ.
    pub(crate) async fn compare(self: &Arc<Self>, peer: &PeerId) -> Result<usize, LinkError> {
        let (mut differences, mut reply) = (0, None);
        let for_thread = (Arc::clone(self), *peer);
        let selection = spawn_blocking(move || for_thread.0.selection(&for_thread.1)).await.map_err(failed)?;
        let mut run = Reconciliation::new(selection, Salt(rand::random()));
        loop {
            let (peers, taken) = (Arc::clone(self), reply.take());
            let stepped = spawn_blocking(move || {
                let found = match taken {
                    Some(reply) => run.take(reply, peers.store.as_ref())?,
                    None => Ok(Found::default()),
                };
                let next = run.next_step(peers.store.as_ref())?;
                Ok::<_, cas::Error>((run, found, next))
            });
            let (back, found, next) = stepped.await.map_err(failed)?.map_err(failed)?;
            run = back;
            let found = found.map_err(|error| {
                tracing::debug!(%peer, %error, "a comparison went wrong");
                LinkError::Wrong { what: "a comparison that cannot be right" }
            })?;
            differences += found.theirs.len() + found.ours.len();
            self.differ(peer, &found.theirs, &found.ours)?;
            match next {
                None => break,
                Some(Step::Lacks(scores)) => {
                    differences += scores.len();
                    self.differ(peer, &[], &scores)?;
                }
                Some(Step::Ask(query)) => {
                    let results = self.link(peer).await?.say(&Word::Range(query.to_bytes())).await?;
                    let read = RangeReply::from_bytes(&results);
                    let read = read.map_err(|_| LinkError::Wrong { what: "a comparison that is none" })?;
                    if matches!(read, RangeReply::View(_)) {
                        return Err(Refusal::new(Refusal::VIEW, "sees other peers live").into());
                    }
                    reply = Some(read);
                }
            }
        }
        block_in_place(|| self.repairs.save(self));
        Ok(differences)
    }

    fn differ(&self, peer: &PeerId, theirs: &[Score], ours: &[Score]) -> Result<(), LinkError> {
        for score in theirs {
            self.repairs.add(self, *score, false, *peer);
        }
        for score in ours {
            self.pushes.add(*score, self.store.is_root(score).map_err(failed)?);
        }
        Ok(())
    }

    /// Answers a `range`.
    pub(crate) fn answer_range(&self, peer: &PeerId, arguments: &[u8]) -> Result<Vec<u8>, Refusal> {
        let query = RangeQuery::from_bytes(arguments);
        let query = query.map_err(|error| Refusal::new(Refusal::PROTOCOL, error.to_string()))?;
        let reply = answer(&query, &self.selection(peer), self.store.as_ref());
        reply.map(|reply| reply.to_bytes()).map_err(|error| {
            tracing::warn!(%error, "a comparison failed");
            Refusal::new(Refusal::FAILED, "the store failed")
        })
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LinkError {
    LinkError::Io(std::io::Error::other(error))
}
