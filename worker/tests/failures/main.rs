//! From Kafka through keyed state to Kafka, exactly once, with snapshots in S3: whatever fails, the
//! output is that of a job that nobody disturbed.
//!
//! This binary plays two parts: as `failures run job.yaml ..` it is a user's binary with the
//! program of [`program`]; else it is the test, which starts itself in that part. Broker and bucket
//! are real: [`place`] holds a job and its parts, [`input`] what it reads, the other modules are
//! the stories.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod chaos;
mod input;
mod killed;
mod outages;
mod outlive;
mod place;
mod points;
mod program;
#[path = "../support/suite.rs"]
mod suite;
#[expect(dead_code, reason = "it serves the tests of the engine too")]
#[path = "../../../dataflow/tests/kafka_sink/topic.rs"]
mod topic;
mod workers;
mod zombies;

use std::process::ExitCode;

use millstream_worker::programs;

use place::PARTS;

fn main() -> ExitCode {
    if std::env::args()
        .nth(1)
        .is_some_and(|first| ["run", "scale", "serve", "snapshots"].contains(&&*first))
    {
        return millstream_worker::main(programs![program::disturbed]);
    }
    // Mostly they wait: two at a time.
    let groups: [&[(&str, fn())]; PARTS] = [
        suite::tests![
            points::killed_at_every_point_of_a_snapshot,
            outages::a_broker_that_stops_or_is_cut_off_is_waited_for,
            zombies::a_zombie_that_commits_is_locked_out,
            chaos::workers_and_coordinators_are_killed_and_held_at_random,
            outlive::coordinators_come_and_go_while_the_tasks_go_on,
        ],
        suite::tests![
            outages::a_bucket_out_of_order_holds_up_snapshots_and_nothing_else,
            killed::killed_at_random_moments_with_other_threads_each_time,
            zombies::asleep_between_publish_and_commit_for_longer_than_a_transaction_may_last,
            zombies::a_zombie_that_publishes_is_locked_out,
            workers::a_worker_that_dies_costs_its_survivors_no_read_of_the_bucket,
            zombies::a_lost_token_is_refused_until_somebody_has_looked,
        ],
    ];
    let run = |group| std::thread::spawn(move || suite::run(group));
    let ended = groups.map(run).map(|thread| thread.join().unwrap());
    if ended == [ExitCode::SUCCESS; PARTS] { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
