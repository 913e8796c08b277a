//! Looking for the nodes nearest to a target, in one family (BEP 5; Kademlia, section 2.3).
//!
//! The lookup says whom to ask next and is told what came of it. It knows no packets and no clock.

use std::{collections::HashSet, net::SocketAddr};

use crate::{
    Contact, Distance, NodeId, Target,
    bucket::same_network,
    routing_table::{K, key},
    secure_id::{is_bogon, is_secure},
};

/// Queries that are out at once, not counting those that are late.
const WIDTH: usize = 5;

/// How often a question is asked whose answer matters: of seven packets there and seven back, nearly always one comes
/// through both ways, even where a tenth is lost.
pub(crate) const TRIES: u32 = 7;

/// Questions of a lookup: there are nodes that name ever nearer ones.
const MOST_QUESTIONS: u32 = 256;

/// Candidates that are kept: the nearest.
const MOST_CANDIDATES: usize = 128;

/// Nodes that are taken from one answer: the nearest. Eight is what an answer should have.
const MOST_OF_AN_ANSWER: usize = 16;

/// What has become of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    /// It was asked, and its answer is not late yet.
    Asked,
    /// It was asked, and its answer is late.
    Late,
    Answered,
    Failed,
}

impl State {
    /// Whether nothing more will come of it.
    const fn is_settled(self) -> bool {
        matches!(self, Self::Answered | Self::Failed)
    }
}

#[derive(Clone, Debug)]
struct Candidate {
    contact: Contact,
    distance: Distance,
    state: State,
    /// What it wants to see before it stores something.
    token: Option<Vec<u8>>,
    /// How many answers led here.
    depth: u32,
    /// How many answers named it.
    named: u32,
    /// What came of the second look, if it is part of that.
    second: Option<State>,
    /// Whether it counts as one of the nearest: not if its id does not go with its address (BEP 42).
    counts: bool,
}

/// A lookup.
pub(crate) struct Lookup {
    target: Target,
    own: NodeId,
    /// Sorted by distance.
    candidates: Vec<Candidate>,
    /// Addresses without an id: where to begin when no node is known.
    doors: Vec<(SocketAddr, State)>,
    /// In a public network an IP has one place, and a network two among the nearest.
    distinct: bool,
    known: HashSet<SocketAddr>,
    /// Where a second look goes. An answer has eight nodes, and if some of them are gone, it lacks others that are
    /// there. All answers lack the same ones, so the half of the neighbourhood that the target is not in is looked for
    /// too.
    detour: Option<Target>,
    /// How many nodes near the target were gone at the last look, and how many looks there were.
    gone: usize,
    looks: u8,
    /// How many questions there were, and whether it ends with what it has.
    questions: u32,
    over: bool,
}

/// Whom to ask, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) to: SocketAddr,
    pub(crate) id: Option<NodeId>,
    /// Nodes near this are wanted, and not what the lookup is for.
    pub(crate) detour: Option<Target>,
}

/// Nodes that are asked in a second look, and how many such looks there are.
const SECOND: usize = 4;
const LOOKS: u8 = 3;

impl Lookup {
    pub(crate) fn new(target: Target, own: NodeId, distinct: bool) -> Self {
        Self {
            target,
            own,
            candidates: Vec::new(),
            doors: Vec::new(),
            distinct,
            known: HashSet::new(),
            detour: None,
            gone: 0,
            looks: 0,
            questions: 0,
            over: false,
        }
    }

    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }

    fn key(&self, address: SocketAddr) -> SocketAddr {
        key(address, self.distinct)
    }

    /// Adds an address whose id is not known.
    pub(crate) fn add_door(&mut self, address: SocketAddr) {
        if !self.doors.iter().any(|(other, _)| *other == address) {
            self.doors.push((address, State::New));
        }
    }

    /// Adds nodes that somebody named who is `depth` answers away.
    pub(crate) fn add(&mut self, contacts: &[Contact], depth: u32) {
        let mut nearest: Vec<_> =
            contacts.iter().map(|contact| (contact.id.distance(&self.target), *contact)).collect();
        nearest.sort_by_key(|(distance, _)| *distance);
        for (distance, contact) in nearest.into_iter().take(MOST_OF_AN_ANSWER) {
            self.add_one(contact, distance, depth);
        }
        // Those that do not count go first.
        for all in [false, true] {
            let mut at = self.candidates.len();
            // Those that failed are no more than there were questions.
            let there = |candidate: &&Candidate| candidate.state != State::Failed;
            let mut count = self.candidates.iter().filter(there).count();
            while count > MOST_CANDIDATES && at > 0 {
                at -= 1;
                if self.candidates[at].state == State::New && (all || !self.candidates[at].counts) {
                    let address = self.candidates.remove(at).contact.address;
                    self.known.remove(&self.key(address));
                    count -= 1;
                }
            }
        }
    }

    fn add_one(&mut self, contact: Contact, distance: Distance, depth: u32) {
        let ip = contact.address.ip();
        if contact.id == self.own || (self.distinct && is_bogon(ip)) {
            return;
        }
        let counts = !self.distinct || is_secure(&contact.id, ip);
        if self.distinct {
            let there = self.candidates.iter().filter(|other| other.state != State::Failed);
            if there.filter(|other| same_network(other.contact.address.ip(), ip)).count() >= 2 {
                return;
            }
        }
        let at = self.candidates.partition_point(|other| other.distance < distance);
        if let Some(known) = self.candidates.iter_mut().find(|known| known.contact == contact) {
            known.named += 1;
            return;
        }
        if !self.known.insert(self.key(contact.address)) {
            return;
        }
        self.candidates.insert(
            at,
            Candidate { contact, distance, state: State::New, token: None, depth, named: 1, second: None, counts },
        );
    }

    /// Whom to ask next; `None` when enough are asked at the moment, or the lookup is done.
    pub(crate) fn next(&mut self) -> Option<Question> {
        self.over |= self.questions >= MOST_QUESTIONS;
        let question = if self.over { None } else { self.choose() };
        self.questions += u32::from(question.is_some());
        question
    }

    fn choose(&mut self) -> Option<Question> {
        let of_candidates = self.candidates.iter().flat_map(|candidate| [Some(candidate.state), candidate.second]);
        let states = of_candidates.flatten().chain(self.doors.iter().map(|(_, state)| *state));
        if states.filter(|state| *state == State::Asked).count() >= WIDTH {
            return None;
        }
        let window = self.window();
        if let Some(candidate) = self.candidates[..window].iter_mut().find(|candidate| candidate.state == State::New) {
            candidate.state = State::Asked;
            return Some(Question { to: candidate.contact.address, id: Some(candidate.contact.id), detour: None });
        }
        // Doors are knocked at as long as too few nodes are known.
        if self.candidates.iter().filter(|candidate| candidate.state == State::Answered).count() < K {
            let door = self.doors.iter_mut().find(|(_, state)| *state == State::New)?;
            door.1 = State::Asked;
            return Some(Question { to: door.0, id: None, detour: None });
        }
        if self.is_done() {
            self.look_again();
        }
        let candidate = self.candidates.iter_mut().find(|candidate| candidate.second == Some(State::New))?;
        candidate.second = Some(State::Asked);
        Some(Question { to: candidate.contact.address, id: Some(candidate.contact.id), detour: self.detour })
    }

    /// Begins a second look, if more nodes near the target are gone than at the last one.
    fn look_again(&mut self) {
        let near = &self.candidates[..self.window()];
        let gone = near.iter().filter(|candidate| candidate.state == State::Failed).count();
        let farthest = near.iter().rfind(|candidate| candidate.state == State::Answered);
        let Some(farthest) = farthest.filter(|_| gone > self.gone && self.looks < LOOKS) else { return };
        let bit = usize::try_from(farthest.distance.shared_bits()).unwrap_or(0).min(159);
        let mut place = *self.target.as_bytes();
        place[bit / 8] ^= 0x80 >> (bit % 8);
        self.detour = Some(Target::from_bytes(place));
        (self.gone, self.looks) = (gone, self.looks + 1);
        let answered = self.candidates.iter_mut().filter(|candidate| candidate.state == State::Answered);
        answered.take(SECOND).for_each(|candidate| candidate.second = Some(State::New));
    }

    /// How many candidates lie before the end of the K nearest that have not failed and count.
    fn window(&self) -> usize {
        let mut counted = 0;
        for (at, candidate) in self.candidates.iter().enumerate() {
            if counted == K {
                return at;
            }
            counted += usize::from(candidate.state != State::Failed && candidate.counts);
        }
        self.candidates.len()
    }

    /// Whether an answer of this address could still change the result.
    pub(crate) fn needs(&self, address: &SocketAddr) -> bool {
        let open = |state: State| matches!(state, State::Asked | State::Late);
        self.candidates[..self.window()].iter().any(|candidate| {
            candidate.contact.address == *address && (open(candidate.state) || candidate.second.is_some_and(open))
        }) || self.doors.iter().any(|(door, state)| door == address && open(*state))
    }

    /// How often a candidate is asked before it counts as gone. One that a single answer named may never have been
    /// there: there are nodes that name only such.
    pub(crate) fn patience(&self, address: &SocketAddr) -> u32 {
        let once = self
            .candidates
            .iter()
            .any(|candidate| candidate.contact.address == *address && candidate.named == 1 && candidate.depth > 0);
        if once { 3 } else { TRIES }
    }

    /// Whether the K nearest have answered, and the second look is over.
    pub(crate) fn is_done(&self) -> bool {
        let mut second = self.candidates.iter().filter_map(|candidate| candidate.second);
        self.over || (self.is_settled() && second.all(State::is_settled))
    }

    fn is_settled(&self) -> bool {
        let window = &self.candidates[..self.window()];
        let enough = window.iter().filter(|candidate| candidate.state == State::Answered).count() >= K;
        window.iter().all(|candidate| candidate.state.is_settled())
            && (enough || self.doors.iter().all(|(_, state)| state.is_settled()))
    }

    fn set(&mut self, address: &SocketAddr, to: State) -> Option<&mut Candidate> {
        if let Some((_, state)) = self.doors.iter_mut().find(|(door, _)| door == address) {
            *state = to;
        }
        let candidate = self.candidates.iter_mut().find(|candidate| candidate.contact.address == *address)?;
        match &mut candidate.second {
            Some(second) => *second = to,
            None => candidate.state = to,
        }
        Some(candidate)
    }

    /// Notes that an answer is late.
    pub(crate) fn late(&mut self, address: &SocketAddr) {
        self.set(address, State::Late);
    }

    /// Gives up waiting for somebody whose answer would change nothing as things are. Should nearer ones fail, he is
    /// asked again.
    pub(crate) fn put_back(&mut self, address: &SocketAddr) {
        // Of a second look nobody is asked again: it ends.
        let second = |candidate: &Candidate| candidate.contact.address == *address && candidate.second.is_some();
        let to = if self.candidates.iter().any(second) { State::Failed } else { State::New };
        self.set(address, to);
    }

    /// Ends the lookup as it is.
    pub(crate) fn give_up(&mut self) {
        self.over = true;
    }

    /// Notes that somebody answered under another id than he was named with: whoever named him may be wrong or lie.
    pub(crate) fn renamed(&mut self, contact: Contact) {
        let Some(at) = self.candidates.iter().position(|other| other.contact.address == contact.address) else {
            return;
        };
        let depth = self.candidates.remove(at).depth;
        self.known.remove(&self.key(contact.address));
        self.add(&[contact], depth);
    }

    /// Notes that no answer will come, or a wrong one came.
    pub(crate) fn failed(&mut self, address: &SocketAddr) {
        self.set(address, State::Failed);
        // Another at this IP may be there: it was perhaps named with a wrong port or id.
        self.known.remove(&self.key(*address));
    }

    /// Notes an answer; returns how many answers led to it.
    pub(crate) fn answered(&mut self, contact: Contact, token: Option<Vec<u8>>) -> u32 {
        if self.doors.iter().any(|(door, _)| *door == contact.address) {
            self.add(&[contact], 0);
        }
        let Some(candidate) = self.set(&contact.address, State::Answered) else { return 0 };
        if candidate.second.is_none() {
            candidate.token = token;
        }
        candidate.depth
    }

    /// The nearest nodes that answered, with their tokens and how many answers led to each.
    pub(crate) fn nearest(&self) -> impl Iterator<Item = (Contact, Option<&[u8]>, u32)> {
        self.candidates
            .iter()
            .filter(|candidate| candidate.state == State::Answered && candidate.counts)
            .take(K)
            .map(|candidate| (candidate.contact, candidate.token.as_deref(), candidate.depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target::from_bytes([0; 20]);

    fn contact(number: u8) -> Contact {
        let mut id = [0; 20];
        id[0] = number;
        Contact { id: NodeId::from_bytes(id), address: SocketAddr::from(([127, 0, 0, 1], u16::from(number) + 1)) }
    }

    fn lookup(numbers: impl IntoIterator<Item = u8>) -> Lookup {
        let mut lookup = Lookup::new(TARGET, NodeId::from_bytes([0xff; 20]), false);
        lookup.add(&numbers.into_iter().map(contact).collect::<Vec<_>>(), 0);
        lookup
    }

    fn asked(lookup: &mut Lookup) -> Vec<u16> {
        std::iter::from_fn(|| lookup.next()).map(|question| question.to.port() - 1).collect()
    }

    fn nearest(lookup: &Lookup) -> Vec<u16> {
        lookup.nearest().map(|(contact, ..)| contact.address.port() - 1).collect()
    }

    #[test]
    fn the_nearest_are_asked_until_they_have_answered() {
        let mut lookup = lookup([50, 40, 30, 20, 10, 60]);
        assert_eq!(asked(&mut lookup), [10, 20, 30, 40, 50]);
        assert_eq!(lookup.answered(contact(10), Some(b"t".to_vec())), 0);
        lookup.add(&[contact(1), contact(10)], 1);
        assert_eq!(asked(&mut lookup), [1]);
        lookup.late(&contact(20).address);
        assert_eq!(asked(&mut lookup), [60], "a late one no longer keeps others from being asked");
        assert_eq!(lookup.answered(contact(1), None), 1);
        for number in [30, 40, 50, 60] {
            lookup.answered(contact(number), None);
        }
        assert!(!lookup.is_done() && lookup.needs(&contact(20).address));
        lookup.failed(&contact(20).address);
        assert!(lookup.is_done());
        assert_eq!(nearest(&lookup), [1, 10, 30, 40, 50, 60]);
        assert_eq!(lookup.nearest().nth(1).and_then(|(_, token, _)| token), Some(&b"t"[..]));
    }

    #[test]
    fn farther_ones_are_asked_only_in_place_of_failed_ones() {
        let mut lookup = lookup(1..=16);
        let mut order = Vec::new();
        let mut detours = Vec::new();
        while let Some(question) = lookup.next() {
            let number = u8::try_from(question.to.port() - 1).expect("small");
            if question.detour.is_some() {
                detours.push((number, question.detour));
            } else {
                order.push(number);
            }
            if number == 3 {
                lookup.failed(&question.to);
            } else {
                lookup.answered(contact(number), None);
            }
        }
        assert_eq!(order, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        // The farthest that answered begins with 0000 1001: the nodes with 0000 1 are the other half.
        let mut other_half = [0; 20];
        other_half[0] = 0x08;
        let other_half = Some(Target::from_bytes(other_half));
        assert_eq!(detours, [1, 2, 4, 5].map(|number| (number, other_half)), "one is gone, so there is a second look");
        assert!(lookup.is_done());
        assert!(!lookup.needs(&contact(12).address));
    }

    #[test]
    fn a_second_look_ends_although_nobody_answers_it() {
        let mut lookup = lookup(10..=20);
        while let Some(Question { to, detour: None, .. }) = lookup.next() {
            match u8::try_from(to.port() - 1).expect("small") {
                12 => lookup.failed(&to),
                number => drop(lookup.answered(contact(number), None)),
            }
        }
        assert!(!lookup.is_done(), "there is a second look");
        while lookup.next().is_some() {}
        // Nearer ones are named meanwhile, so that nobody of the second look is among the nearest any more.
        lookup.add(&(0..8).map(contact).collect::<Vec<_>>(), 1);
        for number in [10, 11, 13, 14] {
            lookup.late(&contact(number).address);
        }
        while let Some(Question { to, .. }) = lookup.next() {
            lookup.answered(contact(u8::try_from(to.port() - 1).expect("small")), None);
        }
        for number in [10, 11, 13, 14] {
            assert!(!lookup.needs(&contact(number).address));
            lookup.put_back(&contact(number).address);
        }
        assert!(lookup.is_done());
    }

    #[test]
    fn a_lookup_has_an_end_and_a_lie_does_not_shut_anybody_out() {
        let mut lookup = lookup([200]);
        let mut questions = 0;
        while let Some(Question { to, .. }) = lookup.next() {
            questions += 1;
            let number = questions + 300;
            let mut id = [0; 20];
            id[..4].copy_from_slice(&(u32::MAX / 4 - number).to_be_bytes());
            let nearer = Contact { id: NodeId::from_bytes(id), address: SocketAddr::from((number.to_be_bytes(), 1)) };
            lookup.add(&[nearer], 1);
            lookup.failed(&to);
        }
        assert_eq!(questions, MOST_QUESTIONS);
        assert!(lookup.is_done());

        let mut lookup = self::lookup([50]);
        // Somebody names the address of 9 with the id of 5.
        lookup.add(&[Contact { address: contact(9).address, ..contact(5) }], 1);
        assert_eq!(asked(&mut lookup), [9, 50]);
        lookup.renamed(contact(9));
        lookup.answered(contact(9), None);
        assert_eq!(lookup.nearest().map(|(contact, ..)| contact).collect::<Vec<_>>(), [contact(9)]);
    }

    #[test]
    fn an_answer_adds_few_candidates_and_all_answers_not_many() {
        let mut lookup = lookup(0..=254);
        assert_eq!(lookup.candidates.len(), MOST_OF_AN_ANSWER);
        for number in 0..=254 {
            lookup.add(&[contact(number)], 1);
        }
        assert_eq!(lookup.candidates.len(), MOST_CANDIDATES);
        assert_eq!(lookup.candidates.last().expect("some").contact, contact(127));
    }

    #[test]
    fn doors_are_knocked_at_when_nobody_is_known() {
        let mut lookup = lookup([]);
        assert!(lookup.is_done(), "with nobody to ask there is nothing to do");
        lookup.add_door(contact(9).address);
        assert!(!lookup.is_done());
        assert_eq!(lookup.next(), Some(Question { to: contact(9).address, id: None, detour: None }));
        assert!(lookup.needs(&contact(9).address));
        lookup.answered(contact(9), None);
        assert_eq!(nearest(&lookup), [9]);
        assert!(lookup.is_done());
    }

    #[test]
    fn in_public_ids_must_go_with_addresses() {
        let mut lookup = Lookup::new(TARGET, NodeId::from_bytes([0xff; 20]), true);
        let public =
            |number: u8, address: [u8; 4]| Contact { address: SocketAddr::from((address, 1)), ..contact(number) };
        let secure = |address: [u8; 4]| Contact {
            id: crate::secure_id(address.into(), [3; 20]),
            address: SocketAddr::from((address, 1)),
        };
        lookup.add(&[public(1, [8, 8, 8, 8]), public(2, [10, 0, 0, 1]), secure([9, 9, 9, 9])], 0);
        lookup.add(&[secure([9, 9, 9, 8]), secure([9, 9, 9, 7])], 0);
        assert_eq!(lookup.candidates.len(), 3, "no bogon, and two of a network");
        while let Some(Question { to, id, .. }) = lookup.next() {
            lookup.answered(Contact { id: id.expect("an id"), address: to }, None);
        }
        assert!(lookup.is_done());
        assert_eq!(lookup.nearest().count(), 2, "the wrong id was asked but does not count");
    }
}
