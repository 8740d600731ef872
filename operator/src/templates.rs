//! Templates of pods, once each, however many jobs have the same and however often they are read.
//!
//! Received from: [`crate::serve()`], the jobs that the watch shows, and [`crate::reconcile`], the
//! specs that `StatefulSet`s carry. Invariant: what is shared is equal to what was read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

/// Templates by their hash, for as long as somebody has them.
#[derive(Debug, Default)]
pub(crate) struct Templates(Mutex<HashMap<u64, Weak<Value>>>);

impl Templates {
    /// Replaces a template by the equal one that is there, or keeps it in mind.
    pub(crate) fn share(&self, template: &mut Option<Arc<Value>>) {
        let Some(template) = template else { return };
        let text = serde_json::to_vec(template).expect("a template is JSON");
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = known.entry(xxh3_64(&text)).or_default();
        match one.upgrade().filter(|one| one == template) {
            Some(one) => *template = one,
            None => *one = Arc::downgrade(template),
        }
    }

    /// Forgets those that nobody has any more.
    pub(crate) fn sweep(&self) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, template| template.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_ones_are_one_until_nobody_has_it() {
        let templates = Templates::default();
        let read = |value: Value| {
            let mut read = Some(Arc::new(value));
            templates.share(&mut read);
            read.unwrap()
        };
        let (first, second) = (read(json!({"spec": {"a": 1}})), read(json!({"spec": {"a": 1}})));
        let other = read(json!({"spec": {"a": 2}}));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((&*first, &*other), (&json!({"spec": {"a": 1}}), &json!({"spec": {"a": 2}})));
        drop((first, second));
        templates.sweep();
        assert_eq!(templates.0.lock().unwrap().len(), 1);
        templates.share(&mut None);
        assert_eq!(*read(json!({"spec": {"a": 1}})), json!({"spec": {"a": 1}}));
    }
}
