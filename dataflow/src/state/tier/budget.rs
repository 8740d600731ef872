//! [`Pool`] and [`Account`]: how much memory the tables of bounded states may take, together and
//! each.
//!
//! Half of the memory is shared out evenly: each state's account may always have its part of it, so
//! that no state is without a cache. The other half goes to whoever asks first. So a large state
//! beside small ones has most of the memory, nobody ever has to give any back, and the sum never
//! passes the bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory of all tables.
pub(crate) struct Pool {
    bytes: usize,
    accounts: AtomicUsize,
    /// Taken beyond the even parts.
    beyond: AtomicUsize,
}

/// What the tables of one state of one operator instance take. Used by one thread at a time.
pub(crate) struct Account {
    pool: Arc<Pool>,
    own: AtomicUsize,
    beyond: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes, accounts: AtomicUsize::new(0), beyond: AtomicUsize::new(0) })
    }

    /// Another account. All are opened before any of them takes.
    pub(crate) fn open(self: &Arc<Self>) -> Arc<Account> {
        self.accounts.fetch_add(1, Ordering::Relaxed);
        Arc::new(Account {
            pool: self.clone(),
            own: AtomicUsize::new(0),
            beyond: AtomicUsize::new(0),
        })
    }

    fn part(&self) -> usize {
        self.bytes / 2 / self.accounts.load(Ordering::Relaxed).max(1)
    }
}

impl Account {
    /// Takes so many bytes if there are as many.
    pub(crate) fn try_take(&self, bytes: usize) -> bool {
        let before = self.taken_beyond();
        self.take(bytes);
        let is_within = self.taken_beyond() == before || !self.is_over();
        if !is_within {
            self.give_back(bytes);
        }
        is_within
    }

    fn taken_beyond(&self) -> usize {
        self.beyond.load(Ordering::Relaxed)
    }

    /// Takes so many bytes, whether or not there are as many.
    pub(crate) fn take(&self, bytes: usize) {
        let own = self.own.load(Ordering::Relaxed);
        let from_own = bytes.min(self.pool.part().saturating_sub(own));
        self.own.store(own + from_own, Ordering::Relaxed);
        self.beyond.fetch_add(bytes - from_own, Ordering::Relaxed);
        self.pool.beyond.fetch_add(bytes - from_own, Ordering::Relaxed);
    }

    /// Gives back so many bytes that were taken.
    pub(crate) fn give_back(&self, bytes: usize) {
        let from_beyond = bytes.min(self.taken_beyond());
        self.beyond.fetch_sub(from_beyond, Ordering::Relaxed);
        self.pool.beyond.fetch_sub(from_beyond, Ordering::Relaxed);
        self.own.fetch_sub(bytes - from_beyond, Ordering::Relaxed);
    }

    /// Whether this state has to do with less: more is taken than there is, and it has more than
    /// its part.
    pub(crate) fn is_over(&self) -> bool {
        self.taken_beyond() > 0
            && self.pool.beyond.load(Ordering::Relaxed) > self.pool.bytes - self.pool.bytes / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_part_and_the_first_has_the_rest() {
        let pool = Pool::new(1000);
        let (one, two) = (pool.open(), pool.open());
        assert!(one.try_take(700) && !one.try_take(51) && one.try_take(50));
        assert!(!one.try_take(1) && !one.is_over());
        assert!(two.try_take(250) && !two.try_take(1));
        two.take(10);
        assert!(two.is_over() && one.is_over());
        two.give_back(10);
        one.give_back(100);
        assert!(two.try_take(100) && !two.try_take(1) && !one.try_take(1));
        one.give_back(650);
        two.give_back(350);
        assert!(one.try_take(750));
    }
}
