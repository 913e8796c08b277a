//! The entries that lie before one, a bit for each.

/// A set of places in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Past(Vec<u64>);

impl Past {
    /// The first `count` places.
    pub(crate) fn all(count: usize) -> Self {
        let mut all = Self::default();
        (0..count).for_each(|at| all.insert(at));
        all
    }

    pub(crate) fn contains(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    pub(crate) fn insert(&mut self, at: usize) {
        if self.0.len() <= at / 64 {
            self.0.resize(at / 64 + 1, 0);
        }
        self.0[at / 64] |= 1 << (at % 64);
    }

    /// Adds a place and all before it.
    pub(crate) fn include(&mut self, at: usize, before: &Self) {
        self.insert(at);
        for (word, more) in self.0.iter_mut().zip(&before.0) {
            *word |= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_or_not() {
        let mut past = Past::all(65);
        assert!(past.contains(64) && !past.contains(65) && !past.contains(1000));
        past.insert(200);
        let mut other = Past::default();
        other.include(201, &past);
        assert!([0, 64, 200, 201].iter().all(|at| other.contains(*at)) && !other.contains(65));
    }
}
