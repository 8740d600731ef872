//! Tests of expiry: what is expired is gone, seen or unseen, and what is used lives on.

use std::time::Duration;

use super::*;
use crate::state::State;

const LIFE: Duration = Duration::from_secs(10);

fn at(millis: i64) -> Timestamp {
    Timestamp(1_700_000_000_000 + millis)
}

fn hash(key: u32) -> u64 {
    key_hash(&key).unwrap()
}

#[test]
fn a_value_expires_after_its_last_write() {
    let mut values = ExpiringValue::new(Some(Ttl::after_write(LIFE)));
    values.set(1, &1u32, at(0), 'a');
    assert_eq!(values.get(1, &1, at(9_999)), Some(&'a'));
    assert_eq!(values.get(1, &1, at(10_000)), None);
    assert_eq!(values.table.len(), 0);
    values.set(1, &1, at(10_000), 'b');
    *values.get_mut(1, &1, at(15_000)).unwrap() = 'c';
    assert_eq!(values.get(1, &1, at(24_999)), Some(&'c'));
    assert_eq!(values.get_or_insert_with(1, &1, at(25_000), || 'd'), &'d');
}

#[test]
fn a_read_prolongs_life_where_it_counts_as_a_use() {
    let mut values = ExpiringValue::new(Some(Ttl::after_use(LIFE)));
    let mut maps = ExpiringMap::new(Some(Ttl::after_use(LIFE)));
    values.set(1, &1u32, at(0), 'a');
    maps.insert((1, &1u32), 7u8, 'a', at(0));
    maps.insert((1, &1u32), 8u8, 'b', at(0));
    for step in 1..5 {
        let now = at(step * 9_000);
        assert_eq!(values.get(1, &1, now), Some(&'a'));
        assert_eq!(maps.range(1, &1, ..8, now).collect::<Vec<_>>(), [(&7, &'a')]);
    }
    assert_eq!(maps.get(1, &1, &8, at(36_000)), None);
    assert_eq!(maps.insert((1, &1), 7, 'c', at(99_000)), None);
}

#[test]
fn sweeps_free_what_nobody_looks_for() {
    let mut values = ExpiringValue::new(Some(Ttl::after_write(LIFE)));
    let mut maps = ExpiringMap::new(Some(Ttl::after_write(LIFE)));
    for key in 0..20_000u32 {
        let now = at(if key % 2 == 0 { 0 } else { 8_000 });
        values.set(hash(key), &key, now, key);
        maps.insert((hash(key % 3), &(key % 3)), key, key, now);
    }
    // The first call only sets the pace.
    assert_eq!(values.sweep(at(8_000), &mut 1).unwrap(), at(10_500));
    assert_eq!(maps.sweep(at(8_000), &mut 1), at(10_500));
    let now = at(12_000);
    let mut rounds = 0;
    while values.sweep(now, &mut 2_000).unwrap() == now {
        rounds += 1;
    }
    assert!(rounds > 3, "{rounds} slices are not a walk that pauses");
    while maps.sweep(now, &mut 100) == now {}
    assert_eq!((values.table.len(), maps.table.len()), (10_000, 10_000));
    assert!(maps.range(hash(1), &1, .., now).all(|(key, _)| key % 2 == 1));
}

#[test]
fn entries_from_before_the_time_to_live_get_a_whole_one() {
    let mut values = ExpiringValue::new(None);
    values.set(hash(1), &1u32, at(0), 'a');
    values.ttl = Some(Ttl::after_write(LIFE));
    assert_eq!(values.get(hash(1), &1, at(50_000)), Some(&'a'));
    values.sweep(at(50_000), &mut 100).unwrap();
    values.sweep(at(53_000), &mut 100).unwrap();
    assert_eq!(values.get(hash(1), &1, at(62_999)), Some(&'a'));
    assert_eq!(values.get(hash(1), &1, at(63_000)), None);
}
