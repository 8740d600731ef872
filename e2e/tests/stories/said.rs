//! What jobs have said of themselves in the stories before: phases, conditions with their reasons,
//! and events. All of it is in the reference pages; and what those list was said in some story, but
//! for what is told here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use millstream_e2e::cluster::repository;
use millstream_e2e::said::{EVENT, PHASE};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;

/// The stories that must be told before.
pub(crate) const NEEDS: [&str; 9] = [
    "begins",
    "worker-lost",
    "rescaled",
    "upgraded",
    "rolled-back",
    "suspended",
    "faults",
    "bucket-away",
    "conditions",
];

/// What no story brings about: of what, the word, and why.
const UNSEEN: [(&str, &str, &str); 6] = [
    ("Backpressured", "Blocked", "no story has a sink that is slower than its source"),
    ("Ready", "UserCodeFailed", "no program of the stock image has a function that fails"),
    (EVENT, "UserCodeFailed", "the same"),
    ("Complete", "Unbounded", "it is not known of a program whether it has an end"),
    ("Stalled", "StateTooOld", "the newest snapshot of a job that was suspended is seconds old"),
    ("Stalled", "WorkerTooOld", "there is one version of the protocol"),
];
/// Of a condition of which nothing is known.
const NOT_KNOWN: &str = "NotKnownYet";

/// What is said, by what it is said of, with the stories in which it was.
type Told = BTreeMap<(String, String), BTreeSet<String>>;

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let mut told = Told::new();
    for ((of, what), stories) in stage.said.all() {
        // Whether it is true or not goes without saying: a condition has reasons for either.
        let reason = what.rsplit(' ').next().unwrap_or_default().to_owned();
        told.entry((of, reason)).or_default().extend(stories);
    }
    for ((of, what), stories) in &told {
        let stories: Vec<_> = stories.iter().map(String::as_str).collect();
        story.say(&format!("{of}: {what}: {}", stories.join(", ")));
    }
    let listed = listed()?;
    for (of, what) in told.keys().filter(|it| it.1 != NOT_KNOWN) {
        let is_there = listed.contains(&(of.clone(), what.clone()));
        ensure!(is_there, "{of} was {what}, which its page does not list");
    }
    let is_told = |of: &str, what: &str| told.contains_key(&(of.to_owned(), what.to_owned()));
    for (of, what) in &listed {
        let known = UNSEEN.iter().find(|it| it.0 == of && it.1 == what);
        match known {
            Some((_, _, why)) => ensure!(!is_told(of, what), "{of} was {what}, though {why}"),
            None => ensure!(is_told(of, what), "{of} was {what} in no story"),
        }
    }
    for (of, what, _) in UNSEEN {
        let is_there = listed.contains(&(of.to_owned(), what.to_owned()));
        ensure!(is_there, "no page lists {what} of {of}");
    }
    Ok(())
}

/// What the reference pages list.
fn listed() -> Result<BTreeSet<(String, String)>> {
    let read = |page: &str| {
        let path = repository().join(page);
        std::fs::read_to_string(path).with_context(|| page.to_owned())
    };
    let status = read("docs/reference/streamjob-status.md")?;
    let mut listed = BTreeSet::new();
    let row = |line: &str| -> Vec<String> { line.split(" | ").map(str::to_owned).collect() };
    for line in status.lines().filter(|it| it.starts_with("| `")) {
        let cells = row(line);
        let of = words(&cells[0]).pop().context("a row begins with a name")?;
        let (of, all) = match cells.len() {
            4 => (of, &cells[3]),
            _ if of == "status.phase" => (PHASE.to_owned(), &cells[1]),
            _ => continue,
        };
        listed.extend(words(all).into_iter().map(|it| (of.clone(), it)));
    }
    let operator = read("docs/operate/operator.md")?;
    let events = operator.split_once("## Events").context("there is no section of events")?.1;
    let events = events.split_once("\n## ").map_or(events, |it| it.0);
    for line in events.lines().filter(|it| it.starts_with("| `")) {
        listed.extend(words(&row(line)[0]).into_iter().map(|it| (EVENT.to_owned(), it)));
    }
    ensure!(listed.len() > 50, "the pages list {listed:?}");
    Ok(listed)
}

/// What stands between backticks.
fn words(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
