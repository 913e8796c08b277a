//! Queries of ours that are not answered yet.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use crate::{NodeId, TransactionId, dice::Dice};

/// How long an answer may take before the query is sent again or another node is asked.
pub(crate) const SOFT_TIMEOUT: Duration = Duration::from_secs(1);

/// A query that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Transaction<P> {
    pub(crate) to: SocketAddr,
    /// Whose answer it must be, when that is known.
    pub(crate) id: Option<NodeId>,
    pub(crate) purpose: P,
    /// The packet, to send it again.
    pub(crate) packet: Vec<u8>,
    pub(crate) sent: Duration,
    /// How often it was sent.
    pub(crate) tries: u32,
}

/// All of them. An answer must come from where the query went.
pub(crate) struct Transactions<P> {
    open: HashMap<u32, Transaction<P>>,
    /// How many go to each address.
    addresses: HashMap<SocketAddr, u32>,
    deadlines: BinaryHeap<Reverse<(Duration, u32)>>,
}

impl<P> Transactions<P> {
    pub(crate) fn new() -> Self {
        Self { open: HashMap::new(), addresses: HashMap::new(), deadlines: BinaryHeap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// A number that no open query has. It is random, so that answers cannot be forged blindly.
    pub(crate) fn free_number(&self, dice: &mut Dice) -> u32 {
        loop {
            let number = dice.number();
            if !self.open.contains_key(&number) {
                return number;
            }
        }
    }

    /// Notes a query that goes out at `transaction.sent`.
    pub(crate) fn open(&mut self, number: u32, transaction: Transaction<P>) {
        *self.addresses.entry(transaction.to).or_default() += 1;
        self.deadlines.push(Reverse((transaction.sent + SOFT_TIMEOUT, number)));
        self.open.insert(number, transaction);
    }

    /// Whether something is open with an address.
    pub(crate) fn expects(&self, address: &SocketAddr) -> bool {
        self.addresses.contains_key(address)
    }

    /// The query that an answer from an address belongs to.
    pub(crate) fn close(&mut self, id: &TransactionId, from: &SocketAddr) -> Option<Transaction<P>> {
        let number = id.number()?;
        if self.open.get(&number)?.to != *from {
            return None;
        }
        self.remove(number)
    }

    fn remove(&mut self, number: u32) -> Option<Transaction<P>> {
        let transaction = self.open.remove(&number)?;
        if let Some(count) = self.addresses.get_mut(&transaction.to) {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&transaction.to);
            }
        }
        Some(transaction)
    }

    /// When the next query is overdue.
    pub(crate) fn deadline(&mut self) -> Option<Duration> {
        while let Some(Reverse((deadline, number))) = self.deadlines.peek() {
            if self.open.contains_key(number) {
                return Some(*deadline);
            }
            self.deadlines.pop();
        }
        None
    }

    /// A query that is overdue; it is closed, and may be opened again with its number.
    pub(crate) fn overdue(&mut self, now: Duration) -> Option<(u32, Transaction<P>)> {
        if self.deadline()? > now {
            return None;
        }
        let Reverse((_, number)) = self.deadlines.pop()?;
        Some((number, self.remove(number)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([1, 2, 3, 4], port))
    }

    fn transaction(port: u16, seconds: u64) -> Transaction<u8> {
        let sent = Duration::from_secs(seconds);
        Transaction { to: address(port), id: None, purpose: 0, packet: Vec::new(), sent, tries: 1 }
    }

    #[test]
    fn an_answer_comes_from_where_the_query_went() {
        let mut transactions = Transactions::new();
        transactions.open(7, transaction(1, 0));
        assert!(transactions.expects(&address(1)) && !transactions.expects(&address(2)));
        assert!(transactions.close(&TransactionId::ours(7), &address(2)).is_none());
        assert!(transactions.close(&TransactionId::ours(8), &address(1)).is_none());
        assert!(transactions.close(&TransactionId::from_bytes(b"aa").expect("an id"), &address(1)).is_none());
        assert!(transactions.close(&TransactionId::ours(7), &address(1)).is_some());
        assert!(!transactions.expects(&address(1)));
        assert!(transactions.close(&TransactionId::ours(7), &address(1)).is_none());
        assert_eq!(transactions.deadline(), None);
    }

    #[test]
    fn what_is_not_answered_is_overdue() {
        let mut transactions = Transactions::new();
        transactions.open(7, transaction(1, 5));
        transactions.open(8, transaction(2, 3));
        assert_eq!(transactions.deadline(), Some(Duration::from_secs(4)));
        assert!(transactions.overdue(Duration::from_millis(3999)).is_none());
        assert_eq!(transactions.overdue(Duration::from_secs(9)).map(|(number, _)| number), Some(8));
        assert_eq!(transactions.overdue(Duration::from_secs(9)).map(|(number, _)| number), Some(7));
        assert!(transactions.overdue(Duration::from_secs(9)).is_none());
        assert_eq!(transactions.len(), 0);
    }
}
