//! How many bytes each channel may send: granted by the receiver, as a sum that only grows.
//!
//! [`Grants`] is what a process owes a peer; [`Limit`] what it has from one. Since a grant is the
//! sum of all before it, a later one stands for them, and one that comes twice changes nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::task::Doorbell;

/// Bytes of one grant in a message: channel and limit.
const GRANT: usize = 12;

/// What was granted and not told yet.
#[derive(Debug, Default)]
pub(super) struct Grants {
    limits: Mutex<Untold>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Untold {
    limits: BTreeMap<u32, u64>,
    closed: bool,
}

impl Grants {
    /// Lets a channel send up to so many bytes since its beginning.
    pub(super) fn grant(&self, channel: u32, limit: u64) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).limits.insert(channel, limit);
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_one();
    }

    /// The next message of grants; none when the tasks are gone.
    pub(super) async fn next(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut untold = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
                if untold.closed {
                    return None;
                }
                if !untold.limits.is_empty() {
                    let limits = std::mem::take(&mut untold.limits);
                    return Some(message(&limits));
                }
            }
            self.changed.notified().await;
        }
    }
}

fn message(limits: &BTreeMap<u32, u64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(limits.len() * GRANT);
    for (channel, limit) in limits {
        bytes.extend(channel.to_le_bytes());
        bytes.extend(limit.to_le_bytes());
    }
    bytes
}

/// The grants of a message.
pub(super) fn read(message: &[u8]) -> Result<impl Iterator<Item = (u32, u64)>> {
    let (grants, rest) = message.as_chunks::<GRANT>();
    if !rest.is_empty() {
        return Err(Error::corrupt("a grant of another worker is cut"));
    }
    Ok(grants.iter().map(|bytes| {
        let (channel, limit) = bytes.split_at(4);
        let channel = [0, 1, 2, 3].map(|at| channel[at]);
        let limit = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| limit[at]);
        (u32::from_le_bytes(channel), u64::from_le_bytes(limit))
    }))
}

/// Up to where a channel may send.
#[derive(Debug)]
pub(super) struct Limit {
    bytes: AtomicU64,
    sender: Doorbell,
}

impl Limit {
    /// Nothing is granted yet. `sender` wakes the sending thread.
    pub(super) fn new(sender: Doorbell) -> Self {
        Self { bytes: AtomicU64::new(0), sender }
    }

    pub(super) fn raise(&self, limit: u64) {
        self.bytes.fetch_max(limit, Ordering::SeqCst);
        self.sender.ring();
    }

    pub(super) fn allows(&self, sent: u64) -> bool {
        sent < self.bytes.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_later_grant_stands_for_those_before_it() {
        let grants = Grants::default();
        grants.grant(3, 100);
        grants.grant(1, 70);
        grants.grant(3, 200);
        let told = grants.next().await.unwrap();
        assert_eq!(read(&told).unwrap().collect::<Vec<_>>(), [(1, 70), (3, 200)]);
        assert!(read(&told[1..]).is_err());
        let limit = Limit::new(Doorbell::default());
        assert!(!limit.allows(0));
        limit.raise(200);
        limit.raise(100);
        assert!(limit.allows(199) && !limit.allows(200));
        grants.grant(1, 80);
        grants.close();
        assert_eq!(grants.next().await, None);
    }
}
