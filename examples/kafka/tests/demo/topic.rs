//! [`Topic`]: a topic of the broker, as others see it.

use std::time::Duration;

use millstream_testkit::Kafka;
use millstream_worker::stock::PARTITIONS;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

/// How long one answer may take; a busy machine is given time.
const PATIENCE: Duration = Duration::from_mins(1);

/// A topic.
pub(crate) struct Topic {
    pub(crate) name: String,
    brokers: String,
}

impl Topic {
    /// Makes it.
    pub(crate) fn create(kafka: &Kafka, name: &str) -> Self {
        let topic = Self { name: name.to_owned(), brokers: kafka.address() };
        let admin: AdminClient<DefaultClientContext> = topic.config().create().unwrap();
        let new = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let done = runtime.block_on(admin.create_topics([&new], &AdminOptions::new()));
        done.unwrap().into_iter().for_each(|created| drop(created.unwrap()));
        topic
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// Whoever writes to it: in order, and each record once.
    pub(crate) fn producer(&self) -> BaseProducer {
        let mut config = self.config();
        config.set("enable.idempotence", "true").set("linger.ms", "20").create().unwrap()
    }

    fn reader(&self) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", "demo").set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
        let reader: BaseConsumer = config.create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(&self.name, partition, Offset::Beginning).unwrap();
        }
        reader.assign(&all).unwrap();
        reader
    }

    /// Whoever looks at what comes.
    pub(crate) fn watch(&self) -> Watch {
        Watch { reader: self.reader(), visible: 0 }
    }

    /// The values of all records that are committed, in order.
    pub(crate) fn read_committed(&self) -> Vec<String> {
        let reader = self.reader();
        let (mut lines, mut at_end) = (Vec::new(), 0);
        while at_end < PARTITIONS {
            match reader.poll(PATIENCE).expect("a record or the end of a partition") {
                Err(KafkaError::PartitionEOF(_)) => at_end += 1,
                Err(error) => panic!("{error}"),
                Ok(message) => {
                    let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
                    lines.push(value.to_owned());
                }
            }
        }
        lines.sort_unstable();
        lines
    }
}

/// Counts the committed records of a topic as they come.
pub(crate) struct Watch {
    reader: BaseConsumer,
    visible: usize,
}

impl Watch {
    /// How many there are by now.
    pub(crate) fn visible(&mut self) -> usize {
        while let Some(next) = self.reader.poll(Duration::ZERO) {
            match next {
                Ok(_) => self.visible += 1,
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.visible
    }
}
