//! What a process does about the lease, case by case, against an API server of a few lines.

use super::*;

/// Keeps a lease as an API server does: what is written must be of the version that is there.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u32,
}

impl Server {
    fn write(&mut self, lease: &Lease) -> Result<Lease, ()> {
        let there = self.lease.as_ref().and_then(|it| it.metadata.resource_version.clone());
        if lease.metadata.resource_version != there {
            return Err(());
        }
        self.version += 1;
        let mut lease = lease.clone();
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Ok(lease)
    }

    fn holder(&self) -> Option<&str> {
        holder(self.lease.as_ref()?)
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(1_000_000 + seconds * 1000)
}

fn process(identity: &str) -> Election {
    Election::new("system", "ms", identity.to_owned())
}

/// One attempt, as the loop around it makes it.
fn attempt(process: &mut Election, server: &mut Server, now: Timestamp) {
    process.step_down(now);
    let write = process.renewal(now).or_else(|| process.on_read(server.lease.clone(), now));
    match write.map(|write| server.write(&write)) {
        Some(Ok(written)) => process.on_written(written, now),
        Some(Err(())) => process.on_conflict(),
        None => {}
    }
}

#[test]
fn the_first_one_leads_and_the_second_waits_as_long_as_it_renews() {
    let (mut server, mut a, mut b) = (Server::default(), process("a"), process("b"));
    for now in (0..120).step_by(2).map(at) {
        attempt(&mut a, &mut server, now);
        attempt(&mut b, &mut server, now);
        assert!(a.is_leader(now) && !b.is_leader(now), "{now:?}");
    }
    let spec = server.lease.unwrap().spec.unwrap();
    assert_eq!(spec.acquire_time, Some(time(at(0))));
    assert_eq!(spec.renew_time, Some(time(at(118))));
    assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (Some(0), Some(15)));
}

#[test]
fn one_that_cannot_renew_has_stopped_before_another_begins() {
    for (unreachable_from, seen_by_other) in [(0, 0), (4, 5), (7, 1), (9, 30)] {
        let (mut server, mut a, mut b) = (Server::default(), process("a"), process("b"));
        let (mut stopped, mut began) = (None, None);
        for second in 0..90 {
            let now = at(second);
            if second <= unreachable_from {
                attempt(&mut a, &mut server, now);
            }
            if second >= seen_by_other {
                attempt(&mut b, &mut server, now);
            }
            assert!(!(a.is_leader(now) && b.is_leader(now)), "both at {second} s");
            if !a.is_leader(now) && stopped.is_none() {
                stopped = Some(second);
            }
            if b.is_leader(now) && began.is_none() {
                began = Some(second);
            }
        }
        assert_eq!(stopped, Some(unreachable_from + 10));
        assert_eq!(began, Some(unreachable_from.max(seen_by_other) + 15));
        let spec = server.lease.unwrap().spec.unwrap();
        assert_eq!(spec.lease_transitions, Some(1));
    }
}

#[test]
fn the_times_in_a_lease_are_not_believed() {
    let (mut server, mut a, mut b) = (Server::default(), process("a"), process("b"));
    attempt(&mut a, &mut server, at(-100_000));
    attempt(&mut b, &mut server, at(0));
    assert!(!b.is_leader(at(0)), "its clock may be another one");
    attempt(&mut b, &mut server, at(14));
    assert!(!b.is_leader(at(14)));
    attempt(&mut b, &mut server, at(15));
    assert!(b.is_leader(at(15)));
}

#[test]
fn a_lease_that_was_taken_ends_the_lead_at_the_next_attempt() {
    let (mut server, mut a, mut b) = (Server::default(), process("a"), process("b"));
    attempt(&mut a, &mut server, at(0));
    // Somebody has emptied it by hand.
    server.lease.as_mut().unwrap().spec.as_mut().unwrap().holder_identity = Some(String::new());
    attempt(&mut b, &mut server, at(1));
    assert_eq!(server.holder(), Some("b"));
    attempt(&mut a, &mut server, at(2));
    // What it knew was written over: it reads.
    assert!(a.is_leader(at(2)));
    attempt(&mut a, &mut server, at(2));
    assert!(!a.is_leader(at(2)) && b.is_leader(at(2)));
    assert!(a.release(at(3)).is_none(), "it is another's");
}

#[test]
fn a_renewal_whose_answer_was_lost_is_ours_all_the_same() {
    let (mut server, mut a) = (Server::default(), process("a"));
    attempt(&mut a, &mut server, at(0));
    server.write(&a.renewal(at(2)).unwrap()).unwrap();
    attempt(&mut a, &mut server, at(4));
    assert_eq!(a.leads_until(), Some(at(10)), "nothing was heard since");
    attempt(&mut a, &mut server, at(4));
    assert_eq!(a.leads_until(), Some(at(14)));
    let spec = server.lease.unwrap().spec.unwrap();
    assert_eq!((spec.lease_transitions, spec.acquire_time), (Some(0), Some(time(at(0)))));
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let (mut server, mut a, mut b) = (Server::default(), process("a"), process("b"));
    attempt(&mut a, &mut server, at(0));
    attempt(&mut b, &mut server, at(1));
    server.write(&a.release(at(2)).unwrap()).unwrap();
    assert!(!a.is_leader(at(2)) && server.holder().is_none());
    attempt(&mut b, &mut server, at(3));
    assert!(b.is_leader(at(3)));
    assert!(b.release(at(4)).is_some() && b.release(at(4)).is_none());
}

#[test]
fn a_lease_that_is_deleted_is_made_again_and_what_others_put_on_it_stays() {
    let (mut server, mut a) = (Server::default(), process("a"));
    attempt(&mut a, &mut server, at(0));
    server.lease = None;
    attempt(&mut a, &mut server, at(2));
    attempt(&mut a, &mut server, at(2));
    assert_eq!((server.holder(), a.leads_until()), (Some("a"), Some(at(12))));
    let labels = [("team".to_owned(), "plants".to_owned())];
    server.lease.as_mut().unwrap().metadata.labels = Some(labels.into());
    a.on_conflict();
    attempt(&mut a, &mut server, at(4));
    assert!(server.lease.unwrap().metadata.labels.is_some());
}

#[test]
fn an_earlier_process_of_the_same_pod_is_another_one() {
    let (mut server, mut a) = (Server::default(), process("pod_1"));
    attempt(&mut a, &mut server, at(0));
    let mut next = process("pod_2");
    attempt(&mut next, &mut server, at(1));
    assert!(!next.is_leader(at(1)));
    attempt(&mut next, &mut server, at(16));
    assert!(next.is_leader(at(16)));
}
