//! One request, tried until it succeeds, is refused for good, or has taken too long.
//!
//! Receives a request as a closure from whoever asks a store, hands back its answer or
//! [`Failed`]. Invariant: the only place that repeats a request to a store; the SDK's own retries
//! are off.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use crate::fault::Fault;

/// How long one request may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one attempt, answer and body included.
    pub attempt: Duration,
    /// For all attempts together with the pauses between them.
    pub total: Duration,
}

/// The limits of a store's requests, by size.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For what moves little: a log entry, a mark, a listing's page.
    pub small: Limits,
    /// For what moves up to a piece.
    pub bulk: Limits,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            // A store answers in tens of milliseconds. In total less than the half minute after
            // which the coordinator asks again.
            small: Limits { attempt: Duration::from_secs(8), total: Duration::from_secs(25) },
            // 16 MiB in 30 s is 0.6 MB/s, a tenth of a slow line. In total far less than the ten
            // minutes that a snapshot has by default.
            bulk: Limits { attempt: Duration::from_secs(30), total: Duration::from_mins(2) },
        }
    }
}

/// The first pause; each is twice the one before. A retry after a lost packet costs no more.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause: a store that comes back is found within that.
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// A request that came to nothing.
#[derive(Debug)]
pub struct Failed {
    /// The last attempt's fault.
    pub fault: Fault,
    /// Whether any attempt may have been carried out by the store.
    pub unsure: bool,
    /// How many attempts there were.
    pub attempts: u32,
}

impl Failed {
    /// What is to be sent cannot be read, so that nothing was attempted.
    pub fn unread(text: impl std::fmt::Display) -> Self {
        Self { fault: Fault::unread(text.to_string()), unsure: false, attempts: 1 }
    }
}

/// Requests of this process: all, and those that had no answer, or a refusal.
static SENT: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

/// How many requests this process has sent to S3, each attempt for itself, and how many of them
/// had no answer or a refusal: that an object is not there is one, too.
pub fn requests() -> (u64, u64) {
    (SENT.load(Ordering::Relaxed), FAILED.load(Ordering::Relaxed))
}

/// Requests of this process that are being tried again: what came of the last attempt of each.
static AGAIN: Mutex<BTreeMap<Uuid, String>> = Mutex::new(BTreeMap::new());

fn again() -> MutexGuard<'static, BTreeMap<Uuid, String>> {
    AGAIN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of a request that is being tried again now; none where none is.
pub fn trouble() -> Option<String> {
    again().values().next().cloned()
}

/// A request that may have to be tried again; one that is given up, too, is so no more.
struct Tried(Uuid);

impl Tried {
    fn has_failed(&self, fault: &Fault) {
        again().insert(self.0, fault.text().to_owned());
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        again().remove(&self.0);
    }
}

/// Tries a request until it succeeds.
pub async fn repeat<T, F>(
    limits: Limits,
    mut request: impl FnMut() -> F + Send,
) -> Result<T, Failed>
where
    F: Future<Output = Result<T, Fault>> + Send,
{
    let (mut last, mut unsure, mut attempts) = (None, false, 0);
    let tried_again = Tried(Uuid::new_v4());
    let tries = async {
        let mut pause = PAUSE_FIRST;
        loop {
            attempts += 1;
            SENT.fetch_add(1, Ordering::Relaxed);
            let tried = timeout(limits.attempt, request()).await;
            let fault = match tried.unwrap_or_else(|_| Err(Fault::late(limits.attempt))) {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            FAILED.fetch_add(1, Ordering::Relaxed);
            if !fault.passes() {
                return Err(fault);
            }
            tracing::debug!("attempt {attempts}: {fault:?}");
            unsure |= fault.is_unsure();
            tried_again.has_failed(&fault);
            last = Some(fault);
            rest(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    };
    let (fault, unsure) = match timeout(limits.total, tries).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(fault)) => (fault, unsure),
        // It may have been cut off within an attempt.
        Err(_) => (last.unwrap_or_else(|| Fault::late(limits.total)), true),
    };
    Err(Failed { fault, unsure, attempts })
}

/// Waits between three quarters of the pause and all of it, so that workers which met the same
/// outage do not come back in step.
async fn rest(pause: Duration) {
    let chance = Uuid::new_v4().as_u128() as u8;
    let pause = pause.mul_f64(1.0 - f64::from(chance) / 1024.0);
    #[expect(clippy::disallowed_methods, reason = "nothing rings when a store is well again")]
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Limits =
        Limits { attempt: Duration::from_secs(1), total: Duration::from_millis(150) };

    #[tokio::test]
    async fn what_keeps_a_request_waiting_is_told_while_it_does() {
        let (mut attempts, mut told) = (0, Vec::new());
        let answer = repeat(SOON, || {
            attempts += 1;
            told.push(trouble());
            let is_last = attempts == 2;
            async move { if is_last { Ok(()) } else { Err(Fault::odd("nothing")) } }
        });
        answer.await.unwrap();
        assert_eq!(told.last().unwrap().as_deref(), Some("it answered with nothing"));
        let given_up: Result<(), _> = repeat(SOON, || async { Err(Fault::odd("nothing")) }).await;
        assert!(given_up.is_err());
        assert!(again().is_empty(), "neither is tried any more");
    }
}
