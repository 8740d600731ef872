//! Schedules of the model: none, and thousands of, faults.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::simulation::World;

/// Runs one schedule; where something does not hold, prints what led to it.
fn simulate(seed: u64) -> World {
    let mut world = World::new(seed);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(panic) = result {
        let reason = panic.downcast::<String>().map_or_else(|_| String::new(), |text| *text);
        let trace = world.trace.join("\n");
        panic!("{trace}\n{reason}\nreplay it by building with COORDINATOR_SEED={seed}");
    }
    world
}

/// Where nothing breaks, nothing restarts, and the log has a claim and then manifests only.
#[test]
fn undisturbed_there_is_one_run_without_a_restart() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.chance.on = false;
        world.run();
        let runs = world.outside.entries().filter(|(_, entry)| entry.as_claim().is_some()).count();
        assert_eq!((world.hosts.len(), runs), (1, 1), "seed {seed}");
        let status = world.hosts[0].machine.status();
        assert_eq!(status.restarts, 0);
        assert_eq!(status.snapshot_failure, None);
        let kept =
            world.outside.entries().filter(|(_, entry)| entry.as_manifest().is_some()).count();
        assert_eq!(kept, 3, "seed {seed}: the newest three are kept");
        let parts = world.outside.parts().len();
        let epochs = world.outside.log().len() - 1;
        let workers = world.hosts[0].workers.len();
        assert!(parts <= epochs * workers, "{parts} parts for {epochs} epochs");
    }
}

/// Each seed is a schedule of crashes, pauses, rivals, takeovers, edits, stalled and lost writes,
/// lost, late and doubled messages. In each, the log is one line, nothing unpublished is visible,
/// nothing named is deleted, and in the end each record is visible once.
#[test]
fn whatever_breaks_each_record_is_visible_once() {
    if let Some(seed) = option_env!("COORDINATOR_SEED") {
        simulate(seed.parse().expect("COORDINATOR_SEED is a number"));
        return;
    }
    let count = option_env!("COORDINATOR_SEEDS").unwrap_or("300");
    let count = count.parse().expect("COORDINATOR_SEEDS is a number");
    let (mut taken_over, mut rescaled) = (0, 0);
    for seed in 0..count {
        let world = simulate(seed);
        let claims = world.outside.entries().filter_map(|(_, entry)| entry.as_claim().cloned());
        taken_over += u64::from(claims.into_iter().any(|claim| claim.term.0 > 1));
        rescaled += u64::from(world.rescaled);
    }
    assert!(taken_over > count / 10, "{taken_over} of {count} had a run that was taken over");
    assert!(rescaled > count / 20, "{rescaled} of {count} were rescaled while they ran");
}
