//! [`open`]: from what a program says and what a snapshot holds to the partitions that a task
//! reads, each with its offsets.
//!
//! Asks the cluster; called once, when a source opens, and hands a client and concrete positions to
//! [`super::thread`]. Invariant: nothing is guessed. A restored position is gone on from as it is
//! or refused, and what a start says is an offset from here on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};

use super::bounds::{End, Offsets, Start};
use super::position::{KafkaPosition, Partition};
use super::queue::{Client, Queue};
use super::topics::{Described, Look, Topic};
use super::watch::recreated;
use super::{OWNED, Spec};
use crate::connector::kafka::client::Told;
use crate::connector::kafka::fault::{explain, fail, kind_of};
use crate::error::{Error, Kind, Result};

/// The part of librdkafka whose log tells of topics' ids.
const METADATA: &str = "metadata";

/// For one answer about offsets, from all brokers.
const OFFSETS_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks at whether the brokers refuse us, while they are asked for topics.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a task reads with, and what it reads.
pub(super) struct Opened {
    pub(super) queue: Arc<Queue>,
    pub(super) told: Told,
    pub(super) topics: Vec<(Arc<str>, Topic)>,
    pub(super) splits: Vec<(Partition, KafkaPosition)>,
}

/// What a task knows before it asks the cluster.
pub(super) struct Known<'a> {
    /// Whether a partition is this task's.
    pub(super) owns: &'a dyn Fn(&str, i32) -> bool,
    pub(super) restored: Vec<(String, KafkaPosition)>,
    /// Whether the job goes on from a snapshot.
    pub(super) is_restored: bool,
}

/// Connects, and finds out where each partition of this task is to be read from and up to.
pub(super) fn open(spec: &Spec, known: Known<'_>) -> Result<Opened> {
    let told = Told::default();
    let queue = Arc::new(connect(spec, &told)?);
    let topics = describe(&queue, &told, &spec.topics)?;
    check_named(&topics, &spec.start, &spec.end)?;
    let mut splits = partitions(&topics, spec.is_bounded(), known)?;
    let at = At { queue: &queue, told: &told };
    resolve_starts(&at, &spec.start, &mut splits)?;
    resolve_ends(&at, &spec.end, &mut splits)?;
    let splits = splits.into_iter().map(|(partition, split)| (partition, split.position)).collect();
    Ok(Opened { queue, told, topics, splits })
}

fn connect(spec: &Spec, told: &Told) -> Result<Queue> {
    let isolation = if spec.uncommitted { "read_uncommitted" } else { "read_committed" };
    let own = [
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "error"),
        ("isolation.level", isolation),
        ("group.id", spec.group.as_deref().unwrap_or(super::GROUP)),
    ];
    let settings = super::DEFAULTS
        .iter()
        .fold(spec.settings.clone(), |settings, (name, value)| settings.with_default(name, value));
    let mut config = settings.config(&OWNED, &own)?;
    // Told listens to it: nothing else says that a topic has another id.
    let debug = config.get("debug").map_or(METADATA.to_owned(), |it| format!("{it},{METADATA}"));
    config.set("debug", debug).set_log_level(RDKafkaLogLevel::Debug);
    let client: Client = config
        .create_with_context(told.clone())
        .map_err(|error| fail("cannot set up a client", &error, told))?;
    let queue = Queue::new(&Arc::new(client))?;
    queue.serve();
    told.check_settings()?;
    Ok(queue)
}

/// What the cluster says of the topics, each of which must be there.
fn describe(queue: &Queue, told: &Told, topics: &[Arc<str>]) -> Result<Vec<(Arc<str>, Topic)>> {
    let attempt = || format!("cannot look at topic {}", topics.join(", "));
    let look = Look::at(queue.client(), topics)?;
    let described = loop {
        if let Some(answer) = look.answer(LOOK_EVERY) {
            queue.serve();
            break answer.map_err(|(code, reason)| match told.trouble() {
                Some(trouble) => explain(attempt(), trouble.code, &trouble.reason),
                None => explain(attempt(), code, &reason),
            })?;
        }
        queue.serve();
        if let Some(end) = told.end() {
            return Err(explain(attempt(), end.code, &end.reason));
        }
    };
    topics.iter().map(|topic| Ok((topic.clone(), find(&described, topic)?))).collect()
}

fn find(described: &[Described], topic: &str) -> Result<Topic> {
    let attempt = || format!("cannot read topic {topic}");
    match described.iter().find(|described| described.topic == topic).map(|it| it.state) {
        Some(Ok(topic)) => Ok(topic),
        Some(Err(code)) => Err(explain(attempt(), code, "")),
        None => Err(Error::unavailable(format!("{}: the brokers do not tell of it", attempt()))),
    }
}

/// Refuses offsets of partitions that are not there.
fn check_named(topics: &[(Arc<str>, Topic)], start: &Start, end: &End) -> Result<()> {
    let there = |topic: &str, number: i32| {
        let found = topics.iter().find(|(name, _)| **name == *topic);
        found.is_some_and(|(_, topic)| (0..topic.partitions).contains(&number))
    };
    let check = |what: &str, offsets: &Offsets| {
        for ((topic, number), offset) in offsets {
            if !there(topic, *number) {
                return Err(Error::invalid(format!(
                    "{what}: the source reads no partition {topic}-{number}"
                )));
            }
            if *offset < 0 {
                return Err(Error::invalid(format!(
                    "{what}: {topic}-{number}: {offset} is no offset: write 0 or more"
                )));
            }
        }
        Ok(())
    };
    if let Start::Offsets(offsets) = start {
        check("from_offsets", offsets)?;
    }
    if let End::Offsets(offsets) = end {
        check("until_offsets", offsets)?;
    }
    Ok(())
}

/// A partition on its way to a position.
struct Split {
    position: KafkaPosition,
    /// Where it begins is to be found out: where the program says, or at its beginning.
    start: Option<Begin>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    AsSaid,
    AtBeginning,
}

/// The partitions that this task reads: those that a snapshot knows from where it says, others from
/// where the program says, or, if they are newer than the snapshot, from their beginning. What a
/// bounded source reads was fixed when it started.
fn partitions(
    topics: &[(Arc<str>, Topic)],
    bounded: bool,
    known: Known<'_>,
) -> Result<Vec<(Partition, Split)>> {
    let mut restored: HashMap<String, KafkaPosition> = known.restored.into_iter().collect();
    let mut splits = Vec::new();
    for (name, topic) in topics {
        for number in (0..topic.partitions).filter(|number| (known.owns)(name, *number)) {
            let partition = Partition::new(name, number);
            let id = topic.id;
            match restored.remove(&*partition.id()) {
                Some(position) if position.topic_id != 0 && id != 0 && position.topic_id != id => {
                    return Err(recreated(name));
                }
                Some(mut position) => {
                    (position.topic_id, position.end) = (id, position.end.filter(|_| bounded));
                    splits.push((partition, Split { position, start: None }));
                }
                None if known.is_restored && bounded => {}
                None => {
                    let start = if known.is_restored { Begin::AtBeginning } else { Begin::AsSaid };
                    let position =
                        KafkaPosition { next: 0, end: None, topic_id: id, leader_epoch: -1 };
                    splits.push((partition, Split { position, start: Some(start) }));
                }
            }
        }
    }
    let mut gone: Vec<_> = restored.into_iter().filter(|(_, it)| !it.is_at_end()).collect();
    gone.sort_by(|one, other| one.0.cmp(&other.0));
    match gone.first() {
        None => Ok(splits),
        Some((id, position)) => Err(Error::invalid(format!(
            "{id} was read up to offset {} and is no longer among the partitions of the source: \
             read its topic again, or, if it was deleted, give the source another id to begin anew",
            position.next
        ))),
    }
}

/// Whom to ask for offsets.
struct At<'a> {
    queue: &'a Queue,
    told: &'a Told,
}

impl At<'_> {
    /// Of each partition the offset at its beginning, at its end, or (by `Offset::Offset`) of a
    /// time in milliseconds. None: no record is of that time or later.
    fn offsets(&self, partitions: &[&Partition], at: Offset) -> Result<Vec<Option<i64>>> {
        offsets(self.queue, self.told, partitions, at)
    }

    /// The same; behind the newest record where none is late enough.
    fn offsets_or_end(&self, partitions: &[&Partition], time: i64) -> Result<Vec<i64>> {
        let ends = self.offsets(partitions, Offset::End)?;
        let found = self.offsets(partitions, Offset::Offset(time.max(0)))?;
        Ok(found.iter().zip(ends).map(|(found, end)| found.or(end).unwrap_or(0)).collect())
    }
}

/// Of each partition the offset at its beginning, at its end, or of a time in milliseconds.
pub(super) fn offsets(
    queue: &Queue,
    told: &Told,
    partitions: &[&Partition],
    at: Offset,
) -> Result<Vec<Option<i64>>> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        let added = list.add_partition_offset(&partition.topic, partition.number, at);
        added.map_err(|error| fail("cannot ask for offsets", &error, told))?;
    }
    let first = partitions[0].id();
    let answer = queue.client().offsets_for_times(list, OFFSETS_TIMEOUT);
    queue.serve();
    let answer =
        answer.map_err(|error| fail(format!("cannot find offsets of {first}"), &error, told))?;
    let found = partitions.iter().map(|partition| {
        let id = partition.id();
        let found = answer.find_partition(&partition.topic, partition.number);
        let found = found.ok_or_else(|| Error::bug(format!("no offset came back for {id}")))?;
        found
            .error()
            .map_err(|error| fail(format!("cannot find the offset of {id}"), &error, told))?;
        match found.offset() {
            Offset::Offset(offset) => Ok(Some(offset)),
            Offset::End => Ok(None),
            other => Err(Error::new(
                kind_of(rdkafka::types::RDKafkaErrorCode::NoOffset, ""),
                format!("cannot find the offset of {id}: {other:?} came back"),
            )),
        }
    });
    found.collect()
}

fn resolve_starts(at: &At<'_>, start: &Start, splits: &mut [(Partition, Split)]) -> Result<()> {
    let (mut early, mut asked) = (Vec::new(), Vec::new());
    for (index, (partition, split)) in splits.iter_mut().enumerate() {
        match (split.start, start) {
            (None, _) => {}
            (Some(Begin::AsSaid), Start::Latest | Start::At(_)) => asked.push(index),
            (Some(Begin::AsSaid), Start::Offsets(offsets)) => {
                match offsets.get(&(partition.topic.to_string(), partition.number)) {
                    Some(offset) => split.position.next = *offset,
                    None => early.push(index),
                }
            }
            _ => early.push(index),
        }
    }
    let of = |indices: &[usize]| indices.iter().map(|index| &splits[*index].0).collect::<Vec<_>>();
    let beginnings = at.offsets(&of(&early), Offset::Beginning)?;
    let said = match start {
        Start::At(time) => at.offsets_or_end(&of(&asked), time.0)?,
        _ => at
            .offsets(&of(&asked), Offset::End)?
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect(),
    };
    let beginnings = beginnings.into_iter().map(Option::unwrap_or_default);
    for (index, offset) in early.into_iter().zip(beginnings).chain(asked.into_iter().zip(said)) {
        splits[index].1.position.next = offset;
    }
    Ok(())
}

/// Fixes the ends of those that have none: where a bounded source ends does not move when it is
/// restored.
fn resolve_ends(at: &At<'_>, end: &End, splits: &mut [(Partition, Split)]) -> Result<()> {
    let open = |(_, split): &(Partition, Split)| split.position.end.is_none();
    let open: Vec<usize> = (0..splits.len()).filter(|index| open(&splits[*index])).collect();
    let partitions: Vec<&Partition> = open.iter().map(|index| &splits[*index].0).collect();
    let ends: Vec<i64> = match end {
        End::Never => return Ok(()),
        End::Latest => at
            .offsets(&partitions, Offset::End)?
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect(),
        End::At(time) => at.offsets_or_end(&partitions, time.0)?,
        End::Offsets(offsets) => {
            let end = |partition: &&Partition| {
                let named = offsets.get(&(partition.topic.to_string(), partition.number));
                named.copied().ok_or_else(|| {
                    let id = partition.id();
                    Error::invalid(format!("until_offsets: {id} has no end: name every partition"))
                })
            };
            partitions.iter().map(end).collect::<Result<_>>()?
        }
    };
    for (index, end) in open.into_iter().zip(ends) {
        splits[index].1.position.end = Some(end);
    }
    Ok(())
}

/// Whether an error of reading says that a partition does not hold what is asked of it.
pub(super) fn is_lost(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(code, Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation)
}

/// The error for a partition that does not hold the offset it is to be read from.
pub(super) fn lost(queue: &Queue, told: &Told, partition: &Partition, next: i64) -> Error {
    let id = partition.id();
    let range = [Offset::Beginning, Offset::End]
        .map(|at| offsets(queue, told, &[partition], at).ok().and_then(|it| it[0]));
    let words = match range {
        [Some(first), _] if next < first => format!(
            "{id} is to be read from offset {next}, and begins with {first} now: records that were \
             not read are gone, by retention or a delete; raise retention.ms"
        ),
        [Some(_), Some(end)] if next > end => format!(
            "{id} is to be read from offset {next}, and ends at {end}: it was truncated or created \
             again"
        ),
        _ => format!(
            "{id} does not hold offset {next}, from which it is to be read: it was truncated or \
             created again"
        ),
    };
    Error::new(
        Kind::Invalid,
        format!("{words}; begin anew with --fresh, or with another id of the source"),
    )
}
