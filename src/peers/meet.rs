//! Keeping in touch with the members of the pool.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use replication::{Action, Invitation, PeerId, PeerStatus, Refusal, Word, members_from_bencode};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    daemon::stop::Stop,
    failure::Failure,
    peers::{
        Peers,
        link::{Link, LinkError},
        pool::Pool,
    },
};

/// How often each member is greeted, unless it would be given up before.
const EVERY: Duration = Duration::from_mins(1);
/// How long a peer may take to be greeted.
const GREETING: Duration = Duration::from_secs(6);
/// Shortest time between two rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// Greets the members, again and again, until it is told to stop.
pub(crate) async fn run(peers: Arc<Peers>, mut stop: Stop) {
    let every = EVERY.min(peers.settings.patience.grace / 3);
    loop {
        // Who is slow must not keep the others waiting.
        let (greeting, for_task) = (peers.settings.patience.grace, Arc::clone(&peers));
        let round = tokio::spawn(async move {
            if timeout(greeting, for_task.greet_all()).await.is_err() {
                tracing::debug!("some peers were not greeted in time");
            }
            for_task.save_book();
        });
        drop(round);
        tokio::select! {
            () = stop.asked() => return,
            () = tokio::time::sleep(every) => {}
            () = async { tokio::time::sleep(PAUSE).await; peers.greet.notified().await } => {}
        }
    }
}

impl Peers {
    /// Greets every member, all at once; how many answered.
    pub(crate) async fn greet_all(self: &Arc<Self>) -> usize {
        let mut under_way = JoinSet::new();
        for peer in self.others() {
            if self.is_banned(&peer) {
                continue;
            }
            let peers = Arc::clone(self);
            under_way.spawn(async move {
                let greeted = timeout(GREETING, peers.greet_one(&peer)).await.unwrap_or(Err(LinkError::Timeout));
                greeted.inspect_err(|error| peers.failed(&peer, error)).is_ok()
            });
        }
        let mut answered = 0;
        while let Some(joined) = under_way.join_next().await {
            answered += usize::from(matches!(joined, Ok(true)));
        }
        answered
    }

    async fn greet_one(self: &Arc<Self>, peer: &PeerId) -> Result<(), LinkError> {
        let link = self.link(peer).await?;
        self.exchange(&link).await
    }

    /// Tells a peer how we are, and takes how it is; then the membership logs are made the same.
    pub(crate) async fn exchange(self: &Arc<Self>, link: &Link) -> Result<(), LinkError> {
        let (status, began) = (self.status_for(&link.peer), self.now());
        let results = link.say(&Word::Status(Box::new(status))).await?;
        self.came(&link.peer, 0, self.now().saturating_sub(began));
        let status = PeerStatus::from_bencode(&results).ok_or(LinkError::Wrong { what: "a status that is none" })?;
        if self.pool().is_none() {
            return Ok(());
        }
        if !self.knows_pool(&link.peer, &status) {
            return Err(LinkError::Wrong { what: "the name of another pool" });
        }
        let heads = status.heads;
        self.take_status(&link.peer, status, link.address.ip());
        let own = self.pool().as_ref().map(Pool::heads_hash);
        // Who does not know us as a member yet tells no heads.
        if own != Some(heads) && !self.is_expelled(&link.peer) {
            self.exchange_members(link).await?;
        }
        self.with_state(&link.peer, |state| state.refuses = None);
        Ok(())
    }

    /// Makes both membership logs the same: theirs comes, and what they lack goes.
    async fn exchange_members(self: &Arc<Self>, link: &Link) -> Result<(), LinkError> {
        let wrong = LinkError::Wrong { what: "a membership log that is none" };
        let heads = self.pool().as_ref().map(Pool::heads).unwrap_or_default();
        let results = match link.say(&Word::Members { heads: heads.clone(), entries: Vec::new() }).await {
            // It does not know yet that we are a member: our entries say so.
            Err(LinkError::Refused(refusal)) if refusal.code == Refusal::STRANGER => {
                let entries = self.pool().as_ref().map(|pool| pool.missing(&[])).unwrap_or_default();
                link.say(&Word::Members { heads, entries }).await?
            }
            said => said?,
        };
        let (entries, their_heads) = members_from_bencode(&results).ok_or(wrong)?;
        let added = self.change_pool(|pool| Ok(pool.as_mut().map_or(0, |pool| pool.add(&entries))));
        if let Err(failure) = added {
            crate::report::tell(&failure);
        }
        let lacking = self.pool().as_ref().map(|pool| pool.missing(&their_heads)).unwrap_or_default();
        if !lacking.is_empty() {
            let heads = self.pool().as_ref().map(Pool::heads).unwrap_or_default();
            link.say(&Word::Members { heads, entries: lacking }).await?;
        }
        Ok(())
    }

    /// Looks who is at an address, and goes on if it is a member of the pool.
    pub(crate) async fn try_address(self: &Arc<Self>, address: SocketAddr) -> Result<PeerId, LinkError> {
        let link = Link::connect(&self.identity, address, None).await?;
        let peer = link.peer;
        if peer == self.id() {
            return Ok(peer);
        }
        // A member that joined elsewhere may not be in our log yet, so who it is comes with the logs.
        self.exchange(&link).await?;
        if self.is_member(&peer) {
            self.book().reached(&peer, address);
            self.greet.notify_one();
        }
        Ok(peer)
    }

    /// Brings an invitation to whoever answers at these addresses, until one lets us in.
    pub(crate) async fn join(
        self: &Arc<Self>,
        invitation: &Invitation,
        addresses: &[SocketAddr],
    ) -> Result<PeerId, Failure> {
        let mut why = Vec::new();
        for address in addresses {
            match self.join_at(invitation, *address).await {
                Ok(peer) => return Ok(peer),
                Err(error) => why.push(format!("{address} {error}")),
            }
        }
        Err(Failure::NotAdmitted { why: why.join("; ") })
    }

    async fn join_at(self: &Arc<Self>, invitation: &Invitation, address: SocketAddr) -> Result<PeerId, LinkError> {
        let link = Link::connect(&self.identity, address, None).await?;
        let (pool, key) = (invitation.pool(), invitation.key());
        let proof = Action::proof(&key, &pool, &self.id());
        let word = Word::Join { inviter: invitation.inviter(), key: key.id(), proof };
        let results = link.say(&word).await?;
        let (entries, _) = members_from_bencode(&results).ok_or(LinkError::Wrong { what: "a log that is none" })?;
        // The pool's id is in the invitation, so that nobody can pass another one off for it.
        let joined = Pool::joined(pool, &entries).filter(|joined| {
            let members = joined.members();
            members.contains(&self.id()) && members.contains(&link.peer)
        });
        let joined = joined.ok_or(LinkError::Wrong { what: "a log in which we are not" })?;
        self.change_pool(|own| {
            *own = Some(joined);
            Ok(())
        })
        .map_err(std::io::Error::other)?;
        self.book().reached(&link.peer, address);
        self.save_book();
        self.exchange(&link).await?;
        Ok(link.peer)
    }
}
