//! [`Kept`]: the splits of a source as a snapshot keeps them, and which of them a task goes on
//! with.
//!
//! Written and read by [`super::source`]. Invariant: where no position is found, none was kept: a
//! split is never begun anew because another task has its position.

use std::sync::Arc;

use millstream_protocol::id::TaskIndex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::TaskInfo;
use crate::error::{Error, Result};
use crate::snapshot::RestoredList;
use crate::time::Timestamp;

/// The name of the list that holds them.
pub(super) const LIST: &str = "positions";

/// A split as a snapshot keeps it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept<P> {
    pub(super) split: String,
    pub(super) position: P,
    pub(super) watermark: Timestamp,
}

/// Splits as the list of a snapshot has them: each with the watermark that it had reached, where
/// one is known.
pub(super) fn list<P: Serialize>(
    positions: Vec<(Arc<str>, P)>,
    watermark: impl Fn(&str) -> Option<Timestamp>,
) -> Result<Vec<Vec<u8>>> {
    let encode = |(split, position): (Arc<str>, P)| {
        let watermark = watermark(&split).unwrap_or(Timestamp::MIN);
        Ok(postcard::to_stdvec(&Kept { split: split.to_string(), position, watermark })?)
    };
    positions.into_iter().map(encode).collect()
}

/// Of what tasks have kept, what a task goes on with.
pub(super) fn own<P: DeserializeOwned>(
    lists: Vec<RestoredList>,
    info: &TaskInfo,
    owner: impl Fn(&str) -> u32,
) -> Result<Vec<Kept<P>>> {
    let mut own = Vec::new();
    for list in lists {
        // With as many tasks as before, each sees what it kept itself.
        let is_own = list.parallelism == info.parallelism && list.task == info.task.0;
        for item in list.items {
            let kept: Kept<P> = postcard::from_bytes(&item).map_err(|error| {
                Error::corrupt(format!("a source position does not decode: {error}"))
            })?;
            match TaskIndex(owner(&kept.split)) {
                owner if owner == info.task => own.push(kept),
                owner if is_own => return Err(moved(&kept.split, info.task, owner)),
                _ => {}
            }
        }
    }
    Ok(own)
}

fn moved(split: &str, from: TaskIndex, to: TaskIndex) -> Error {
    Error::invalid(format!(
        "{split} was read by task {from} and would now be read by task {to}: the source divides \
         its splits in another way than before. Run the job with another parallelism once: then \
         all positions are dealt out anew"
    ))
}

#[cfg(test)]
mod tests {
    use millstream_protocol::key_group::KeyGroups;

    use super::*;
    use crate::error::Kind;

    fn info(task: u32, parallelism: u32) -> TaskInfo {
        TaskInfo {
            operator: "in".into(),
            task: TaskIndex(task),
            parallelism,
            key_groups: KeyGroups::default(),
            counters: Arc::default(),
        }
    }

    /// What two tasks have kept: even splits and odd ones.
    fn lists() -> Vec<RestoredList> {
        let item = |number: u32| {
            let kept =
                Kept { split: number.to_string(), position: number, watermark: Timestamp(7) };
            postcard::to_stdvec(&kept).unwrap()
        };
        let list = |task: u32| RestoredList {
            name: LIST.into(),
            task,
            parallelism: 2,
            groups: None,
            items: vec![item(task), item(task + 2)],
        };
        vec![list(0), list(1)]
    }

    fn by(parallelism: u32, shift: u32) -> impl Fn(&str) -> u32 {
        move |split| (split.parse::<u32>().unwrap() + shift) % parallelism
    }

    fn splits(kept: &[Kept<u32>]) -> Vec<&str> {
        kept.iter().map(|kept| &*kept.split).collect()
    }

    #[test]
    fn a_task_goes_on_with_what_it_kept_and_at_another_parallelism_with_what_all_did() {
        let kept = own::<u32>(lists(), &info(1, 2), by(2, 0)).unwrap();
        assert_eq!(splits(&kept), ["1", "3"]);
        assert_eq!((kept[1].position, kept[1].watermark), (3, Timestamp(7)));
        let kept = own::<u32>(lists(), &info(0, 3), by(3, 0)).unwrap();
        assert_eq!(splits(&kept), ["0", "3"]);
    }

    #[test]
    fn splits_that_are_divided_in_another_way_are_not_lost_but_refused() {
        let error = own::<u32>(lists(), &info(1, 2), by(2, 1)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().starts_with("1 was read by task 1 and would now be read by"));
        let kept = own::<u32>(lists(), &info(1, 3), by(3, 1)).unwrap();
        assert_eq!(splits(&kept), ["0", "3"]);
    }
}
