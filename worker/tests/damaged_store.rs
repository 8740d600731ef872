//! A store that was damaged: `run` and `snapshots verify` name the object, and change nothing that
//! is there.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]
#![expect(clippy::unnecessary_wraps, reason = "every damage has one signature")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::Place;

/// Counts without end, so that a start has a snapshot to go on from.
const JOB: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: counts}
spec:
  program: {name: counter, args: {recordsPerSecond: '20000', keys: '100'}}
  snapshots: {store: 'file://state', interval: 1h}
";

const RUN: &[&str] = &["run", "job.yaml", "--threads", "2"];

/// A claim, a snapshot, a claim, a snapshot: each life of the job leaves one of each.
const LOG: [&str; 4] = [
    "log/00000000000000000001.json",
    "log/00000000000000000002.json",
    "log/00000000000000000003.json",
    "log/00000000000000000004.json",
];

const MEND: &str = "restore from another snapshot, or bring the object back from a backup";

/// The claim of a start that comes to nothing.
const NEXT_CLAIM: &str = "log/00000000000000000005.json";

/// A job that was stopped twice, and what it left in the store.
fn stopped() -> (Place, BTreeMap<String, Vec<u8>>) {
    let place = Place::new(Path::new(env!("CARGO_BIN_EXE_millstream-worker")), JOB);
    for start in ["starts from an empty state", "resumes from snapshot 1"] {
        let ran = place.run_until(start, RUN);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let objects = place.objects("counts");
    let log: Vec<_> = objects.keys().filter(|name| name.starts_with("log/")).collect();
    assert_eq!(log, LOG, "{objects:?}");
    (place, objects)
}

fn uri(place: &Place, object: &str) -> String {
    format!("{}/{object}", job(place))
}

/// The job's place, as the command line takes it.
fn job(place: &Place) -> String {
    format!("file://{}", place.path("state/default/counts").display())
}

/// The part that the last snapshot reads, which is of the second run.
fn last_part(objects: &BTreeMap<String, Vec<u8>>) -> &str {
    objects.keys().find(|name| name.starts_with("parts/2/")).unwrap()
}

/// Damages an object, or takes it away where `with` says none.
fn damage(
    place: &Place,
    object: &str,
    with: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) -> BTreeMap<String, Vec<u8>> {
    let path = place.path("state/default/counts").join(object);
    let mut bytes = fs::read(&path).unwrap();
    match with(&mut bytes) {
        Some(()) => fs::write(&path, bytes).unwrap(),
        None => fs::remove_file(&path).unwrap(),
    }
    place.objects("counts")
}

fn flip(at: impl Fn(&[u8]) -> usize) -> impl Fn(&mut Vec<u8>) -> Option<()> {
    move |bytes| {
        let at = at(bytes);
        bytes[at] ^= 0x55;
        Some(())
    }
}

fn cut(bytes: &mut Vec<u8>) -> Option<()> {
    bytes.truncate(bytes.len() / 2);
    Some(())
}

fn take_away(_: &mut Vec<u8>) -> Option<()> {
    None
}

/// `run` and `verify` refuse with this reason; besides a claim, where `claims`, nothing is new in
/// the store.
fn refused(place: &Place, before: &BTreeMap<String, Vec<u8>>, claims: bool, reason: &str) {
    place.run(&["snapshots", "verify", &job(place)]).refused(1, reason);
    assert_eq!(place.objects("counts"), *before, "verify changes nothing");

    let ran = place.run(RUN);
    ran.refused(1, &format!("counts: {reason}"));
    let mut after = place.objects("counts");
    assert_eq!(after.remove(NEXT_CLAIM).is_some(), claims, "{after:?}");
    assert_eq!(after, *before, "run changes nothing that is there");
}

#[test]
fn a_part_with_a_wrong_byte_is_named_and_the_job_goes_on_when_it_is_back() {
    let (place, whole) = stopped();
    let part = last_part(&whole).to_owned();
    let before = damage(&place, &part, flip(|bytes| bytes.len() / 2));
    let reason = format!(
        "{} does not match its checksum in manifest 4: restore from another snapshot, or bring \
         the object back from a backup",
        uri(&place, &part)
    );
    refused(&place, &before, true, &reason);

    place.write(&format!("state/default/counts/{part}"), &whole[&part]);
    let ran = place.run_until("resumes from snapshot 2", RUN);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_part_that_was_cut_short_is_named() {
    let (place, whole) = stopped();
    let part = last_part(&whole).to_owned();
    let before = damage(&place, &part, cut);
    let path = place.path("state/default/counts").join(part);
    let reason = format!("{} is shorter than the manifest says: {MEND}", path.display());
    refused(&place, &before, true, &reason);
}

#[test]
fn a_part_that_is_missing_is_named() {
    let (place, whole) = stopped();
    let part = last_part(&whole).to_owned();
    let before = damage(&place, &part, take_away);
    let path = place.path("state/default/counts").join(part);
    refused(&place, &before, true, &format!("{} is missing: {MEND}", path.display()));
}

/// A start anew completes the newest snapshot first; where that is damaged, one way is left.
#[test]
fn a_start_anew_that_a_damaged_part_bars_says_what_is_left() {
    let (place, whole) = stopped();
    let part = last_part(&whole).to_owned();
    damage(&place, "committed/4", take_away);
    damage(&place, &part, take_away);
    let path = place.path("state/default/counts").join(part);
    let command = format!("snapshots delete {}/ --yes", job(&place));
    let reason = format!(
        "counts: output of the newest snapshot may not be visible yet, and must be before the job \
         can begin from something else: {} is missing: {MEND}. Where that cannot be mended, only \
         {command} is left, which gives up every snapshot of the job and whatever of that output \
         is not visible",
        path.display()
    );
    let fresh = [RUN, &["--fresh"]].concat();
    place.run(&fresh).refused(1, &reason);
    let command: Vec<_> = command.split(' ').collect();
    assert_eq!(place.run(&command).code, Some(0));
    assert_eq!(place.run_until("starts from an empty state", &fresh).code, Some(0));
}

#[test]
fn a_log_entry_that_does_not_read_is_named() {
    for entry in LOG {
        let (place, _) = stopped();
        let before = damage(&place, entry, flip(|_| 0));
        let reason = format!("{}: entry does not read as one of a job's log: ", uri(&place, entry));
        let ran = place.run(RUN);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.starts_with(&format!("error: counts: {reason}")), "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1);
        let ran = place.run(&["snapshots", "verify", &uri(&place, LOG[1])]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.starts_with(&format!("error: {reason}")), "{ran:?}");
        assert_eq!(place.objects("counts"), before);
    }
}

#[test]
fn a_manifest_that_was_cut_short_is_named() {
    let (place, _) = stopped();
    let before = damage(&place, LOG[3], cut);
    let ran = place.run(RUN);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains(&uri(&place, LOG[3])), "{ran:?}");
    assert_eq!(place.objects("counts"), before);
}

const RESTORE: &str = "bring the object back from a backup; without it no snapshot of the job \
                       can be used, and the job can only be deleted (snapshots delete) and \
                       started anew";

#[test]
fn an_empty_entry_is_said_to_be_empty_and_what_to_do() {
    let (place, _) = stopped();
    let before = damage(&place, LOG[3], |bytes| {
        bytes.clear();
        Some(())
    });
    let reason = format!(
        "{}: entry is empty (0 bytes), which no program wrote: bring the object back from a \
         backup; without one the job can only be deleted (snapshots delete) and started anew",
        uri(&place, LOG[3])
    );
    refused(&place, &before, false, &reason);
    let job = format!("file://{}", place.path("state/default/counts").display());
    place.run(&["snapshots", "list", &job]).refused(1, &reason);
}

#[test]
fn a_gap_in_the_log_is_named() {
    for (place_in_log, entry) in LOG.into_iter().enumerate().take(3) {
        let (place, _) = stopped();
        let before = damage(&place, entry, take_away);
        let next = LOG[place_in_log + 1];
        let reason = format!(
            "{} is missing from the log although {next} is there: {RESTORE}",
            uri(&place, entry)
        );
        refused(&place, &before, false, &reason);
        let job = format!("file://{}", place.path("state/default/counts").display());
        place.run(&["snapshots", "list", &job]).refused(1, &reason);
    }
}

#[test]
fn a_last_manifest_that_is_missing_is_not_taken_for_an_older_history() {
    let (place, _) = stopped();
    let before = damage(&place, LOG[3], take_away);
    let reason = format!(
        "{} is missing from the log although committed/4 is there: {RESTORE}",
        uri(&place, LOG[3])
    );
    refused(&place, &before, false, &reason);
}

#[test]
fn a_log_that_is_gone_is_not_taken_for_a_new_job() {
    let (place, _) = stopped();
    fs::remove_dir_all(place.path("state/default/counts/log")).unwrap();
    let before = place.objects("counts");
    let reason = format!(
        "{} is missing from the log although committed/4 is there: {RESTORE}",
        uri(&place, LOG[3])
    );
    refused(&place, &before, false, &reason);
}

/// The mark says that output is visible. Where it is missing, the output is made visible again,
/// which changes nothing, and the mark is written again.
#[test]
fn a_missing_mark_is_made_up_for() {
    let (place, whole) = stopped();
    damage(&place, "committed/4", take_away);
    let ran = place.run_until("resumes from snapshot 2", RUN);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let after = place.objects("counts");
    assert_eq!(after["committed/4"], whole["committed/4"]);
}

#[test]
fn a_whole_store_verifies_and_a_job_with_a_damaged_log_can_be_removed() {
    let (place, objects) = stopped();
    let (job, last) = (job(&place), uri(&place, LOG[3]));
    let ran = place.run(&["snapshots", "verify", &job]);
    assert!(ran.out.starts_with(&format!("{last} is whole: ")), "{ran:?}");
    assert_eq!(ran.code, Some(0));
    let relative = place.run(&["snapshots", "verify", "file://state/default/counts"]);
    assert_eq!(relative.out, ran.out, "a relative place is below the current directory");

    damage(&place, LOG[0], cut);
    let ran = place.run(&["snapshots", "delete", &job]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(place.objects("counts").len(), objects.len(), "not without --yes");
    let ran = place.run(&["snapshots", "delete", &job, "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(place.objects("counts").is_empty());

    // Of one whose only entry is empty, the message says so.
    place.write(&format!("state/default/counts/{}", LOG[0]), "");
    let ran = place.run(&["snapshots", "delete", &job, "--yes"]);
    assert_eq!((ran.code, place.objects("counts").len()), (Some(0), 0), "{ran:?}");
}

/// Every kind of change, at bytes all over the newest manifest: a bit that flips where text stays
/// text, and a digit or letter that becomes another one.
#[test]
fn no_changed_byte_of_the_newest_manifest_is_restored() {
    let (place, whole) = stopped();
    let bytes = &whole[LOG[3]];
    let job = job(&place);
    let path = place.path("state/default/counts").join(LOG[3]);
    let reason = format!("error: {}: entry does not ", uri(&place, LOG[3]));
    for (turn, at) in (0..bytes.len()).step_by(bytes.len().div_ceil(200)).enumerate() {
        let mut changed = bytes.clone();
        changed[at] ^= [1, 2, 4, 16][turn % 4];
        fs::write(&path, &changed).unwrap();
        let ran = place.run(&["snapshots", "verify", &job]);
        assert!(matches!(ran.code, Some(1 | 2)) && ran.out.is_empty(), "{at}: {ran:?}");
        // Within what stands before the checksum, the reason may be the version that it names.
        assert!(at < 16 || ran.err.starts_with(&reason), "{at}: {ran:?}");
        if turn % 40 == 0 {
            let ran = place.run(RUN);
            assert_eq!(ran.code, Some(1), "{at}: {ran:?}");
        }
    }
    let mut found = place.objects("counts");
    found.insert(LOG[3].to_owned(), bytes.clone());
    assert_eq!(found, whole, "nothing else has changed");
}

#[test]
fn an_entry_that_lies_in_another_place_is_named() {
    let (place, whole) = stopped();
    place.write(&format!("state/default/counts/{}", LOG[3]), &whole[LOG[1]]);
    let before = place.objects("counts");
    let reason = |object: &str, slot: u64, job: &str| {
        format!(
            "{object}: entry belongs in slot {slot} of job {job}, and was copied here: bring the \
             right object back from a backup"
        )
    };
    let other_slot = reason(&uri(&place, LOG[3]), 2, "default/counts");
    refused(&place, &before, false, &other_slot);

    for (name, bytes) in &whole {
        place.write(&format!("state/other/counts/{name}"), bytes);
    }
    let other = format!("file://{}", place.path("state/other/counts").display());
    place
        .run(&["snapshots", "verify", &other])
        .refused(1, &reason(&format!("{other}/{}", LOG[0]), 1, "default/counts"));
}

#[test]
fn only_a_job_is_removed_and_of_its_place_only_what_is_its_own() {
    let (place, whole) = stopped();
    place.write("thesis/chapters/one.txt", "a life's work");
    place.write("state/default/counts/notes.txt", "mine");
    place.write("state/default/counts/log/readme.json", "mine");
    place.write("log/00000000000000000001.json", "{}");
    for innocent in ["thesis", "thesis/chapters", "state", "state/default", "."] {
        let ran = place.run(&["snapshots", "delete", &format!("file://{innocent}"), "--yes"]);
        assert_eq!(ran.code, Some(2), "{innocent}: {ran:?}");
    }
    let reasons = [
        "is not a snapshot that is kept: ",
        "is no savepoint: it goes by itself when there are newer ones ",
        "is not a snapshot that is kept: ",
        "is the newest snapshot, which a start goes on from: take another one first, or ",
    ];
    for (entry, reason) in LOG.into_iter().zip(reasons) {
        let entry = uri(&place, entry);
        let ran = place.run(&["snapshots", "delete", &entry, "--yes"]);
        let said = format!("error: {entry} {reason}");
        assert!(ran.code == Some(2) && ran.err.starts_with(&said), "{ran:?}");
    }
    assert!(place.path("job.yaml").exists());
    assert!(place.path("thesis/chapters/one.txt").exists());
    assert_eq!(place.objects("counts").len(), whole.len() + 2);

    let ran = place.run(&["snapshots", "delete", &job(&place), "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let expected = format!(
        "removed {} objects of {}/; 2 other files there are left\n",
        whole.len(),
        job(&place)
    );
    assert_eq!(ran.out, expected);
    let left: Vec<_> = place.objects("counts").into_keys().collect();
    assert_eq!(left, ["log/readme.json", "notes.txt"]);
}

/// The stop takes a snapshot, which has nothing left to stand behind.
#[test]
fn a_store_that_is_emptied_under_a_running_job_is_noticed() {
    let place = Place::new(Path::new(env!("CARGO_BIN_EXE_millstream-worker")), JOB);
    let state = place.path("state");
    let empty = || fs::remove_dir_all(&state).unwrap();
    let ran = place.run_until_then("starts from an empty state", RUN, empty);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let reason = format!(
        "error: counts: the log's entry 1 is gone: {} was deleted while the job runs; restore the \
         object, or start the job anew\n",
        uri(&place, LOG[0])
    );
    assert!(ran.err.ends_with(&reason), "{ran:?}");
    assert!(!place.objects("counts").contains_key(LOG[1]));
}

/// Starts the job, and when it says this takes a savepoint; then stops it.
fn savepoint_of(place: &Place, begins: &str) -> String {
    let mut saved = String::new();
    let save = || {
        let ran = place.run(&["savepoint", "job.yaml"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out.trim().clone_into(&mut saved);
    };
    let ran = place.run_until_then(begins, RUN, save);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    saved
}

#[test]
fn a_savepoint_is_deleted_by_itself_and_the_job_goes_on() {
    let place = Place::new(Path::new(env!("CARGO_BIN_EXE_millstream-worker")), JOB);
    let saved = savepoint_of(&place, "starts from an empty state");
    let name = saved.strip_prefix(&format!("{}/", job(&place))).unwrap();
    let before = place.objects("counts");
    let ran = place.run(&["snapshots", "delete", &saved]);
    let said = format!("error: this would delete the savepoint {saved}, and ");
    assert!(ran.code == Some(2) && ran.err.starts_with(&said), "{ran:?}");
    assert!(ran.err.contains("add --yes"), "{ran:?}");
    assert_eq!(place.objects("counts"), before);

    let ran = place.run(&["snapshots", "delete", &saved, "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with(&format!("deleted {saved}, and ")), "{ran:?}");
    let after = place.objects("counts");
    assert!(String::from_utf8_lossy(&after[name]).contains("tombstone"));
    assert!(before.contains_key("committed/2") && !after.contains_key("committed/2"), "{after:?}");
    for (other, bytes) in &after {
        assert!(other == name || before[other] == *bytes, "{other}");
    }
    let ran = place.run(&["snapshots", "verify", &job(&place)]);
    assert_eq!(ran.code, Some(0), "no other snapshot has lost a part: {ran:?}");
    let ran = place.run(&["snapshots", "delete", &saved, "--yes"]);
    let said = format!("error: {saved} is not a snapshot that is kept: ");
    assert!(ran.code == Some(2) && ran.err.starts_with(&said), "{ran:?}");

    let ran = place.run_until("resumes from snapshot 2", RUN);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_job_goes_but_for_its_savepoints_and_then_these() {
    let place = Place::new(Path::new(env!("CARGO_BIN_EXE_millstream-worker")), JOB);
    let first = savepoint_of(&place, "starts from an empty state");
    let second = savepoint_of(&place, "resumes from snapshot");
    let delete = |what: &str, options: &[&str]| {
        place.run(&[&["snapshots", "delete", what], options].concat())
    };
    let rest = ["--yes", "--if-there", "--keep-savepoints"];
    let before = place.objects("counts");
    let ran = delete(&job(&place), &["--keep-savepoints"]);
    assert!(
        ran.code == Some(2) && ran.err.contains(&format!("keep {first}, {second}: ")),
        "{ran:?}"
    );
    assert_eq!(place.objects("counts"), before, "not without --yes");

    let ran = delete(&job(&place), &rest);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.ends_with(&format!(", kept {first}, {second}\n")), "{ran:?}");
    for saved in [&first, &second] {
        let ran = place.run(&["snapshots", "verify", saved]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let listed = place.run(&["snapshots", "list", &job(&place)]);
    assert_eq!(listed.out.lines().count(), 3, "{listed:?}");
    let after = place.objects("counts");
    let slots = |objects: &BTreeMap<String, Vec<u8>>| {
        objects.keys().filter(|name| name.starts_with("log/")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(slots(&after), slots(&before), "no slot of the log is freed");
    let ran = delete(&job(&place), &rest);
    assert_eq!(ran.code, Some(0), "again: {ran:?}");
    assert_eq!(place.objects("counts"), after);

    let ran = delete(&second, &["--yes"]);
    assert!(ran.code == Some(2) && ran.err.contains("is the newest snapshot"), "{ran:?}");
    let gone = ["--yes", "--if-there", "--job-is-gone"];
    for (saved, is_last) in [(&second, false), (&first, true), (&first, true)] {
        let ran = delete(saved, &gone);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(place.objects("counts").is_empty(), is_last, "{ran:?}");
    }
    let ran = delete(&job(&place), &rest);
    assert_eq!(ran.code, Some(0), "there is nothing left: {ran:?}");
    let ran = delete(&job(&place), &["--yes"]);
    assert_eq!(ran.code, Some(2), "nor would anybody say that it was there: {ran:?}");
}
