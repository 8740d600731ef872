//! What jobs have said of themselves, and in which story: conditions with their reasons, phases,
//! events.
//!
//! Received from: [`crate::watch`], and whoever tells stories. Handed to: the story that compares
//! it with what the reference pages list. Invariant: what was said once stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// The kind of what is no condition: a phase,
pub const PHASE: &str = "phase";
/// and an event.
pub const EVENT: &str = "event";

/// A condition, [`PHASE`] or [`EVENT`]; and what of it: a reason, with its status before it.
type Word = (String, String);

/// All that was said.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Mutex<BTreeMap<Word, BTreeSet<String>>>>);

/// What is said in one story.
#[derive(Clone, Debug)]
pub struct Telling {
    story: String,
    said: Said,
}

impl Said {
    /// What is said in a story is added by this.
    pub fn by(&self, story: &str) -> Telling {
        Telling { story: story.to_owned(), said: self.clone() }
    }

    /// All of it: of what, what, and in which stories.
    pub fn all(&self) -> BTreeMap<Word, BTreeSet<String>> {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Word, BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Telling {
    /// Adds what a status says.
    pub fn takes(&self, status: &Value) {
        if let Some(phase) = status["phase"].as_str() {
            self.add(PHASE, phase);
        }
        for condition in status["conditions"].as_array().into_iter().flatten() {
            let of = |field: &str| condition[field].as_str().unwrap_or_default();
            self.add(of("type"), &format!("{} {}", of("status"), of("reason")));
        }
    }

    /// Adds that this was said of that.
    pub fn add(&self, of: &str, what: &str) {
        let mut all = self.said.locked();
        let stories = all.entry((of.to_owned(), what.to_owned())).or_default();
        if !stories.contains(&self.story) {
            stories.insert(self.story.clone());
        }
    }
}
