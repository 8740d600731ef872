//! For tests: random scripts of two sides, with disorder, watermarks and snapshots.

use proptest::prelude::*;

use crate::testing::Element;
use crate::time::Timestamp;

/// A record of a script: its key, its number in the script, its time.
pub(super) type Record = (u32, u32, i64);

#[derive(Clone, Debug)]
enum Step {
    Record { key: u32, ahead: i64 },
    Advance(i64),
}

/// A script of records that are never late, in any order otherwise; and the records alone.
pub(super) fn side() -> impl Strategy<Value = (Vec<Element<Record>>, Vec<Record>)> {
    let step = prop_oneof![
        5 => (0u32..3, 0i64..60).prop_map(|(key, ahead)| Step::Record { key, ahead }),
        2 => (0i64..40).prop_map(Step::Advance),
    ];
    (-100i64..100, prop::collection::vec(step, 0..60)).prop_map(|(start, steps)| {
        let (mut now, mut elements, mut records) = (start, Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Record { key, ahead } => {
                    let record = (key, records.len() as u32, now + ahead);
                    records.push(record);
                    elements.push(Element::Record(record, Timestamp(record.2)));
                }
                Step::Advance(by) => {
                    now += by;
                    elements.push(Element::Watermark(Timestamp(now)));
                }
            }
        }
        (elements, records)
    })
}

/// The elements with snapshots at these places.
pub(super) fn cut_at(mut elements: Vec<Element<Record>>, places: &[usize]) -> Vec<Element<Record>> {
    for place in places {
        elements.insert(place % (elements.len() + 1), Element::Snapshot);
    }
    elements
}
