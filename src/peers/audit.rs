//! Asking peers to show that they have what they should.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use cas::{BlockStore as _, Score};
use rand::Rng as _;
use replication::{Challenge, Lie, PeerId, Word, proof_from_bencode};
use tokio::task::spawn_blocking;

use crate::{
    daemon::stop::Stop,
    peers::{Peers, link::LinkError, lock},
};

/// How often it is looked whether an audit is due.
const EVERY: Duration = Duration::from_secs(20);

/// What an audit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audit {
    /// The peer has the block.
    Passed,
    /// The peer says that it has the block, and does not.
    Failed,
    /// The peer claims nothing that is also here.
    Nothing,
}

/// Audits until it is told to stop.
pub(crate) async fn run(peers: Arc<Peers>, mut stop: Stop) {
    loop {
        tokio::select! {
            () = stop.asked() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let due = lock(&peers.audits).wakes().is_some_and(|due| due <= peers.now());
        if !due {
            continue;
        }
        let mut random = [0; 40];
        rand::rng().fill_bytes(&mut random);
        let mut chosen = None;
        // Which block is found out afterwards, because the peer has to be asked what it claims.
        lock(&peers.audits).next(peers.now(), random, |peer, _| {
            chosen = Some(*peer);
            None
        });
        let Some(peer) = chosen.filter(|peer| peers.is_reachable(peer)) else { continue };
        if let Err(error) = peers.audit(&peer).await {
            peers.failed(&peer, &error);
        }
    }
}

impl Peers {
    /// Chooses a block that a peer claims to have and that is here, and has it prove that.
    pub(crate) async fn audit(self: &Arc<Self>, peer: &PeerId) -> Result<Audit, LinkError> {
        let audit = match self.claimed(peer).await? {
            Some(score) => self.challenge(peer, score).await?,
            None => Audit::Nothing,
        };
        let text = match audit {
            Audit::Passed => "passed",
            Audit::Failed => "failed",
            Audit::Nothing => return Ok(audit),
        };
        *lock(&self.figures.last_audit) = Some(format!("{} {text}", peer.short()));
        if audit == Audit::Passed {
            lock(&self.audits).passed(peer);
        } else {
            lock(&self.audits).failed(peer, self.now());
            self.lied(peer, Lie::FailedAudit, "and does not have what it claims");
        }
        Ok(audit)
    }

    /// A block that is here and that the peer says it has.
    async fn claimed(self: &Arc<Self>, peer: &PeerId) -> Result<Option<Score>, LinkError> {
        let store = Arc::clone(&self.store);
        let start = rand::random::<u32>() >> 12;
        let drawn = spawn_blocking(move || {
            let mut some = Vec::new();
            let mut visit = |score| {
                some.push(score);
                if some.len() < 64 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            // From a random place on, and round.
            store.scores_between(start..1 << 20, &mut visit)?;
            store.scores_between(0..start, &mut visit)?;
            Ok::<_, cas::Error>(some)
        });
        let drawn = drawn.await.map_err(std::io::Error::other)?.map_err(std::io::Error::other)?;
        let have = self.have(peer, &drawn).await?;
        Ok(drawn.into_iter().zip(have).find_map(|(score, has)| has.then_some(score)))
    }

    async fn challenge(self: &Arc<Self>, peer: &PeerId, score: Score) -> Result<Audit, LinkError> {
        let challenge = Challenge { nonce: rand::random(), score };
        let word = Word::Audit { score, nonce: challenge.nonce };
        let said = self.link(peer).await?.say(&word).await;
        let store = Arc::clone(&self.store);
        let own = spawn_blocking(move || store.get(&score)).await.map_err(std::io::Error::other)?;
        let Ok(Some(own)) = own else { return Ok(Audit::Nothing) };
        let right = match said {
            Ok(results) => proof_from_bencode(&results) == Some(*challenge.proof(&own).as_bytes()),
            // It said a moment ago that it has it.
            Err(LinkError::Refused(refusal)) if refusal.code == replication::Refusal::PROTOCOL => false,
            Err(error) => return Err(error),
        };
        Ok(if right { Audit::Passed } else { Audit::Failed })
    }
}
