//! How far a peer is trusted, and how fast it is.

use std::{fmt, time::Duration};

/// How long a peer is banned for its first lie; each further one doubles it.
const BAN: Duration = Duration::from_hours(1);

/// At most so many doublings: 42 days.
const DOUBLINGS: u32 = 10;

/// After a ban, one lie is forgiven for each of these times without another.
const FORGIVEN: Duration = Duration::from_hours(7 * 24);

/// A peer that is silent so often in a row is left alone for a while, which doubles up to [`LONGEST_PAUSE`].
const SILENCES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// Requests at a time: at first, and at most.
const FIRST_LIMIT: u32 = 4;
const MOST: u32 = 32;

/// What a peer that never answered is taken to need.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(300);

/// What a peer did, since we know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Bytes that were right.
    pub good_bytes: u64,
    /// Requests that it did not answer in time.
    pub timeouts: u64,
    /// Requests that it refused. It may.
    pub refused: u64,
    /// Blocks whose bytes were not those of their scores.
    pub wrong_bytes: u64,
    /// Blocks that it claims and could not prove to have.
    pub failed_audits: u64,
}

/// Something that no honest peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It sent bytes that are not those of the score.
    WrongBytes,
    /// It could not prove that it has a block that it claims.
    FailedAudit,
}

/// Why a peer is not asked, to be shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It lied; until when it is banned.
    Banned {
        /// What it did.
        lie: Lie,
        /// Until when.
        until: Duration,
    },
    /// It did not answer; when it is tried again.
    Silent {
        /// How often in a row.
        times: u32,
        /// Until when it is left alone.
        until: Duration,
    },
    /// It has as many requests as it answers in time.
    Busy {
        /// How many.
        limit: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Banned { lie: Lie::WrongBytes, .. } => f.write_str("banned: it sent wrong bytes"),
            Self::Banned { lie: Lie::FailedAudit, .. } => f.write_str("banned: it has not got what it claims"),
            Self::Silent { times, .. } => write!(f, "left alone: silent {times} times in a row"),
            Self::Busy { limit } => write!(f, "busy with {limit} requests"),
        }
    }
}

/// How far one peer is trusted.
///
/// A lie bans it for a time that doubles. Silence never does, because a bad line looks the same: it makes the peer less
/// preferred, and for a while not asked at all.
#[derive(Clone, Debug)]
pub struct Standing {
    deeds: Deeds,
    /// Lies that are not forgiven, the last one, and until when it counts.
    lies: u32,
    ban: Option<(Lie, Duration)>,
    silences: u32,
    pause_ends: Duration,
    round_trip: Option<Duration>,
    in_flight: u32,
    limit: u32,
    /// Answers since the limit last changed.
    streak: u32,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            deeds: Deeds::default(),
            lies: 0,
            ban: None,
            silences: 0,
            pause_ends: Duration::ZERO,
            round_trip: None,
            in_flight: 0,
            limit: FIRST_LIMIT,
            streak: 0,
        }
    }
}

impl Standing {
    /// What it did so far.
    pub const fn deeds(&self) -> &Deeds {
        &self.deeds
    }

    /// Requests under way.
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Why the peer is not to be asked now; `None` when it may be.
    pub fn reason(&self, now: Duration) -> Option<Reason> {
        if let Some((lie, until)) = self.ban
            && now < until
        {
            return Some(Reason::Banned { lie, until });
        }
        if self.silences >= SILENCES && now < self.pause_ends {
            return Some(Reason::Silent { times: self.silences, until: self.pause_ends });
        }
        (self.in_flight >= self.limit).then_some(Reason::Busy { limit: self.limit })
    }

    /// Whether the peer is banned: its links are closed, and nothing is taken from it.
    pub fn is_banned(&self, now: Duration) -> bool {
        self.ban.is_some_and(|(_, until)| now < until)
    }

    /// How long its next answer is expected to take: its usual time, doubled for each silence since the last answer.
    pub fn expected(&self) -> Duration {
        self.round_trip.unwrap_or(UNKNOWN_ROUND_TRIP) * (1 << self.silences.min(DOUBLINGS))
    }

    /// A request was sent. One of [`Standing::good`], [`Standing::refused`], [`Standing::timeout`] or
    /// [`Standing::lied`] ends it.
    pub const fn asked(&mut self) {
        self.in_flight += 1;
    }

    /// It answered a request in `took`, with `bytes` that were right.
    pub fn good(&mut self, bytes: u64, took: Duration) {
        self.deeds.good_bytes = self.deeds.good_bytes.saturating_add(bytes);
        self.answered(took);
        self.streak += 1;
        if self.streak >= self.limit {
            self.streak = 0;
            self.limit = (self.limit + 1).min(MOST);
        }
    }

    /// It said something of its own accord, so it is there.
    pub const fn heard(&mut self) {
        self.silences = 0;
    }

    /// It answered in `took` that it will not.
    pub fn refused(&mut self, took: Duration) {
        self.deeds.refused += 1;
        self.answered(took);
    }

    /// It did not answer in time.
    pub fn timeout(&mut self, now: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.deeds.timeouts += 1;
        self.silences = self.silences.saturating_add(1);
        self.streak = 0;
        self.limit = (self.limit / 2).max(1);
        if let Some(over) = self.silences.checked_sub(SILENCES) {
            self.pause_ends = now + (PAUSE * (1 << over.min(DOUBLINGS))).min(LONGEST_PAUSE);
        }
    }

    /// It answered a request with a lie.
    pub fn lied(&mut self, lie: Lie, now: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match lie {
            Lie::WrongBytes => self.deeds.wrong_bytes += 1,
            Lie::FailedAudit => self.deeds.failed_audits += 1,
        }
        let since = self.ban.map_or(now, |(_, until)| until);
        let forgiven = now.saturating_sub(since).as_secs() / FORGIVEN.as_secs();
        self.lies = self.lies.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        self.ban = Some((lie, since.max(now + BAN * (1 << self.lies.min(DOUBLINGS)))));
        self.lies += 1;
    }

    /// The usual time is an average in which each answer counts an eighth (RFC 6298's weight).
    fn answered(&mut self, took: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.silences = 0;
        self.round_trip = Some(self.round_trip.map_or(took, |usual| (usual * 7 + took) / 8));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_hours(1000);

    #[test]
    fn lies_ban_for_longer_each_time_and_are_forgiven() {
        let mut standing = Standing::default();
        let mut now = NOW;
        for hours in [1, 2, 4] {
            standing.lied(Lie::WrongBytes, now);
            let until = now + Duration::from_hours(hours);
            assert_eq!(standing.reason(now), Some(Reason::Banned { lie: Lie::WrongBytes, until }));
            now = until;
            assert!(!standing.is_banned(now));
        }
        standing.lied(Lie::FailedAudit, now + 2 * FORGIVEN);
        assert!(!standing.is_banned(now + 2 * FORGIVEN + Duration::from_hours(2)), "two of the three are forgiven");
        assert_eq!((standing.deeds().wrong_bytes, standing.deeds().failed_audits), (3, 1));
    }

    #[test]
    fn silence_pauses_and_an_answer_ends_it() {
        let mut standing = Standing::default();
        let usual = standing.expected();
        for _ in 0..2 {
            standing.timeout(NOW);
        }
        assert_eq!((standing.reason(NOW), standing.expected()), (None, 4 * usual));
        standing.timeout(NOW);
        assert_eq!(standing.reason(NOW), Some(Reason::Silent { times: 3, until: NOW + PAUSE }));
        assert_eq!(standing.reason(NOW + PAUSE), None, "it is tried again");
        standing.asked();
        assert_eq!(standing.reason(NOW + PAUSE), Some(Reason::Busy { limit: 1 }), "with one request");
        standing.timeout(NOW + PAUSE);
        let reason = standing.reason(NOW + PAUSE).expect("a reason");
        assert_eq!(reason, Reason::Silent { times: 4, until: NOW + 3 * PAUSE });
        assert_eq!(reason.to_string(), "left alone: silent 4 times in a row");
        standing.good(1, Duration::from_millis(80));
        assert_eq!((standing.reason(NOW), standing.expected()), (None, Duration::from_millis(80)));
    }

    #[test]
    fn who_answers_gets_more_requests() {
        let mut standing = Standing::default();
        for _ in 0..2000 {
            standing.asked();
            standing.good(1000, Duration::from_millis(10));
        }
        assert_eq!((standing.limit, standing.in_flight(), standing.deeds().good_bytes), (MOST, 0, 2_000_000));
    }

    proptest! {
        #[test]
        fn only_lies_ban(acts in prop::collection::vec((0_u8..5, 0_u64..10_000), 0..300)) {
            let mut standing = Standing::default();
            let (mut now, mut lied) = (NOW, false);
            for (act, pause) in acts {
                now += Duration::from_millis(pause);
                match act {
                    0 => standing.asked(),
                    1 => standing.good(pause, Duration::from_millis(pause)),
                    2 => standing.refused(Duration::from_millis(pause)),
                    3 => standing.timeout(now),
                    _ if pause > 9_500 => { standing.lied(Lie::WrongBytes, now); lied = true; }
                    _ => {}
                }
                prop_assert_eq!(standing.is_banned(now), lied, "no ban ends within these times");
                prop_assert!((1..=MOST).contains(&standing.limit));
                let again = now + LONGEST_PAUSE;
                prop_assert!(!matches!(standing.reason(again), Some(Reason::Silent { .. })), "a pause ends");
            }
        }
    }
}
