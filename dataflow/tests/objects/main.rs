//! Files in a bucket, on a real endpoint: written exactly once through crashes and faults, and
//! read.
//!
//! This binary starts itself again with the endpoint's keys in its environment, where alone the
//! connectors look for them.
#![cfg(feature = "s3")]
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

mod life;
mod place;
mod sink;
mod source;
#[path = "../../../worker/tests/support/suite.rs"]
mod suite;

use std::process::{Command, ExitCode};

use millstream_testkit::S3;

/// Set, to an endpoint, for the process that tries to write with other keys.
const DENIED: &str = "MILLSTREAM_TEST_DENIED";

fn main() -> ExitCode {
    if let Some(code) = S3::again_with_keys() {
        return code;
    }
    if std::env::var_os(DENIED).is_some() {
        write_where_denied();
        return ExitCode::SUCCESS;
    }
    // One endpoint for all tests.
    let _s3 = S3::shared();
    suite::run(suite::tests![
        sink_objects_appear_when_their_snapshot_is_committed,
        sink_a_crash_at_any_point_loses_nothing_and_doubles_nothing,
        sink_every_lost_answer_is_survived,
        sink_an_epoch_that_was_given_up_rides_with_the_next,
        sink_an_upload_that_is_gone_and_a_foreign_object_are_refused,
        sink_results_of_later_snapshots_are_not_doubled,
        sink_large_objects_go_in_parts_and_a_store_that_stands_still_holds_the_sink_up,
        sink_mistakes_are_told_before_the_first_record,
        source_a_prefix_of_many_pages_is_read_whole,
        source_a_restore_goes_on_in_the_middle_of_each_object,
        source_a_source_that_follows_finds_new_objects,
        source_an_object_that_changed_since_is_refused,
        source_mistakes_are_told,
        keys_that_may_not_are_told_what_to_allow,
    ])
}

/// Tests that wait, as functions that do it.
macro_rules! waiting {
    ($($name:ident: $test:path),+ $(,)?) => { $(
        fn $name() {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(2).enable_all().build().unwrap().block_on($test());
        }
    )+ };
}

waiting! {
    sink_objects_appear_when_their_snapshot_is_committed:
        sink::objects_appear_when_their_snapshot_is_committed,
    sink_a_crash_at_any_point_loses_nothing_and_doubles_nothing:
        sink::a_crash_at_any_point_loses_nothing_and_doubles_nothing,
    sink_every_lost_answer_is_survived: sink::every_lost_answer_is_survived,
    sink_an_epoch_that_was_given_up_rides_with_the_next:
        sink::an_epoch_that_was_given_up_rides_with_the_next,
    sink_an_upload_that_is_gone_and_a_foreign_object_are_refused:
        sink::an_upload_that_is_gone_and_a_foreign_object_are_refused,
    sink_results_of_later_snapshots_are_not_doubled:
        sink::results_of_later_snapshots_are_not_doubled,
    sink_large_objects_go_in_parts_and_a_store_that_stands_still_holds_the_sink_up:
        sink::large_objects_go_in_parts_and_a_store_that_stands_still_holds_the_sink_up,
    sink_mistakes_are_told_before_the_first_record: sink::mistakes_are_told_before_the_first_record,
    source_a_prefix_of_many_pages_is_read_whole: source::a_prefix_of_many_pages_is_read_whole,
    source_a_restore_goes_on_in_the_middle_of_each_object:
        source::a_restore_goes_on_in_the_middle_of_each_object,
    source_a_source_that_follows_finds_new_objects: source::a_source_that_follows_finds_new_objects,
    source_an_object_that_changed_since_is_refused: source::an_object_that_changed_since_is_refused,
    source_mistakes_are_told: source::mistakes_are_told,
    write_where_denied: sink::write_where_denied,
}

fn keys_that_may_not_are_told_what_to_allow() {
    let s3 = S3::shared();
    let said_of = |key: &str, secret: &str| {
        let mut itself = Command::new(std::env::current_exe().unwrap());
        itself.env(DENIED, s3.endpoint());
        itself.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret);
        let said = itself.output().unwrap();
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap()
    };
    let said = said_of(S3::READER.key, S3::READER.secret);
    assert!(said.starts_with("Invalid: "), "{said}");
    assert!(said.contains("cannot write s3://snapshots/denied/"), "{said}");
    assert!(
        said.contains("access denied: allow s3:PutObject, s3:GetObject, s3:ListBucket"),
        "{said}"
    );
    let said = said_of(S3::WRITER.key, "wrong");
    assert!(said.contains("cannot list s3://snapshots/denied/"), "{said}");
    assert!(said.contains("the secret key does not fit its access key"), "{said}");
    let said = said_of("nobody", "secret");
    assert!(said.contains("the store does not know the access key"), "{said}");
}
