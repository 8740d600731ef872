//! A topic of a real broker, as others see it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millstream_testkit::Kafka;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers as _;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

/// How long one answer may take; a busy machine is given time.
const PATIENCE: Duration = Duration::from_secs(30);

/// A topic that no other test uses.
pub(crate) struct Topic {
    pub(crate) brokers: String,
    pub(crate) name: String,
    partitions: i32,
    _kafka: Option<Arc<Kafka>>,
}

/// A record in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) timestamp: Option<i64>,
}

impl Record {
    pub(crate) fn number(&self) -> u64 {
        std::str::from_utf8(self.value.as_ref().unwrap()).unwrap().parse().unwrap()
    }
}

impl Topic {
    /// One of the broker that tests share.
    pub(crate) async fn new(name: &str, partitions: i32) -> Self {
        let kafka = Kafka::shared();
        let brokers = kafka.address();
        let topic = Self { _kafka: Some(kafka), ..Self::at(brokers, name, partitions) };
        topic.create(&[]).await;
        topic
    }

    pub(crate) fn at(brokers: String, name: &str, partitions: i32) -> Self {
        Self { brokers, name: name.to_owned(), partitions, _kafka: None }
    }

    pub(crate) async fn create(&self, config: &[(&str, &str)]) {
        let replication = TopicReplication::Fixed(1);
        let mut new = NewTopic::new(&self.name, self.partitions, replication);
        for (name, value) in config {
            new = new.set(name, value);
        }
        let done = self.admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
        for created in done {
            created.unwrap();
        }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap()
    }

    /// The group of a task's token.
    fn group(&self, task: u32) -> String {
        format!("millstream.test.{}.out.{task}.epochs", self.name)
    }

    /// Deletes the groups in which the sink's tasks keep their tokens.
    pub(crate) async fn delete_tokens(&self, tasks: u32) {
        let groups: Vec<_> = (0..tasks).map(|task| self.group(task)).collect();
        self.delete_groups(&groups).await;
    }

    pub(crate) async fn delete_groups(&self, groups: &[String]) {
        let names: Vec<_> = groups.iter().map(String::as_str).collect();
        let done = self.admin().delete_groups(&names, &AdminOptions::new()).await.unwrap();
        for deleted in done {
            deleted.unwrap();
        }
    }

    /// The offset and the metadata in the group of a task's token.
    pub(crate) fn token(&self, task: u32) -> Option<(i64, String)> {
        let reader = self.consumer(&self.group(task), "read_committed");
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(&self.name, 0);
        let read = reader.committed_offsets(wanted, PATIENCE).unwrap();
        let found = read.find_partition(&self.name, 0).unwrap();
        match found.offset() {
            Offset::Offset(offset) => Some((offset, found.metadata().to_owned())),
            _ => None,
        }
    }

    fn consumer(&self, group: &str, isolation: &str) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", group);
        config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", isolation).create().unwrap()
    }

    /// Everything that a reader with this isolation sees.
    pub(crate) fn read(&self, isolation: &str) -> Vec<Record> {
        let consumer = self.consumer("reader", isolation);
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions {
            all.add_partition_offset(&self.name, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        // Whoever writes while it is read puts no end to it: what is there now is read, and what a
        // transaction that has just ended shows a moment later.
        let all = self.consumer("reader", "read_uncommitted");
        let end = |partition| all.fetch_watermarks(&self.name, partition, PATIENCE).unwrap().1;
        let ends: Vec<i64> = (0..self.partitions).map(end).collect();
        let (mut records, mut at_end) = (Vec::new(), BTreeSet::new());
        while at_end.len() < ends.len() {
            match consumer.poll(PATIENCE).expect("a record or the end of a partition") {
                Err(KafkaError::PartitionEOF(partition)) => drop(at_end.insert(partition)),
                Err(error) => panic!("{error}"),
                Ok(message) if message.offset() >= ends[message.partition() as usize] => {
                    at_end.insert(message.partition());
                }
                Ok(message) => {
                    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                    records.push(Record {
                        partition: message.partition(),
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.payload().map(<[u8]>::to_vec),
                        headers: headers
                            .map(|it| (it.key.to_owned(), it.value.map(<[u8]>::to_vec)))
                            .collect(),
                        timestamp: message.timestamp().to_millis(),
                    });
                }
            }
        }
        records
    }

    /// The numbers that a reader of committed records sees, sorted.
    pub(crate) fn committed(&self) -> Vec<u64> {
        self.numbers("read_committed")
    }

    /// The numbers that any reader sees, sorted.
    pub(crate) fn numbers(&self, isolation: &str) -> Vec<u64> {
        let mut numbers: Vec<_> = self.read(isolation).iter().map(Record::number).collect();
        numbers.sort_unstable();
        numbers
    }
}
