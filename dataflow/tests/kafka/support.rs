//! Topics of their own for each test, records in them, and an engine that lives until it is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millstream_dataflow::clock::{Clock, SystemClock};
use millstream_dataflow::connector::kafka::{JsonValue, KafkaSource};
use millstream_dataflow::engine::{Deployment, Engine, Event};
use millstream_dataflow::sink::History;
use millstream_dataflow::snapshot::{Restore, RestoredPart, Share};
use millstream_dataflow::{Barrier, Counters, Error, Job};
use millstream_protocol::id::{Epoch, Run, WorkerIndex};
use millstream_protocol::plan::Plan;
use millstream_testkit::Kafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::sync::mpsc::Receiver;

/// Lets time pass in which nothing is to happen.
pub async fn pause(milliseconds: u64) {
    let nothing = std::future::pending::<()>();
    tokio::time::timeout(Duration::from_millis(milliseconds), nothing).await.unwrap_err();
}

/// For anything that a broker or an engine is waited for.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A topic of a test's own.
pub struct Topic {
    pub kafka: Arc<Kafka>,
    pub name: String,
    producer: BaseProducer,
}

fn config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address());
    config
}

pub fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    config(kafka).create().unwrap()
}

pub fn producer(kafka: &Kafka, settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = config(kafka);
    // What was sent stays in order; what was sent before is there.
    config.set("enable.idempotence", "true").set("linger.ms", "5");
    config.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    config.create().unwrap()
}

/// A name that no other test of this process has.
pub fn name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Topic {
    pub async fn new(partitions: i32) -> Self {
        Self::on(Kafka::shared(), partitions).await
    }

    pub async fn on(kafka: Arc<Kafka>, partitions: i32) -> Self {
        let producer = producer(&kafka, &[]);
        let topic = Self { kafka, name: name("topic"), producer };
        topic.create(partitions).await;
        topic
    }

    pub async fn create(&self, partitions: i32) {
        let new = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
        // A topic that is being deleted is in the way for a moment.
        for _ in 0..600 {
            let made = admin(&self.kafka).create_topics([&new], &AdminOptions::new()).await;
            match &made.unwrap()[0] {
                Ok(_) => return,
                Err((_, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err(error) => panic!("{error:?}"),
            }
            pause(100).await;
        }
        panic!("{} is still being deleted", self.name);
    }

    pub async fn delete(&self) {
        let gone = admin(&self.kafka).delete_topics(&[&self.name], &AdminOptions::new()).await;
        gone.unwrap()[0].as_ref().unwrap();
    }

    pub async fn grow(&mut self, partitions: usize) {
        let new = NewPartitions::new(&self.name, partitions);
        let grown = admin(&self.kafka).create_partitions([&new], &AdminOptions::new()).await;
        grown.unwrap()[0].as_ref().unwrap();
        // The old one learns of them within minutes.
        self.producer = producer(&self.kafka, &[]);
    }

    /// Puts records into a partition, each with its timestamp, and waits until they are there.
    pub fn send_at<V: AsRef<[u8]>>(
        &self,
        partition: i32,
        records: impl IntoIterator<Item = (i64, V)>,
    ) {
        for (time, value) in records {
            let record = BaseRecord::<(), [u8]>::to(&self.name).partition(partition);
            let mut record = record.timestamp(time).payload(value.as_ref());
            while let Err((_, again)) = self.producer.send(record) {
                self.producer.poll(Duration::from_millis(10));
                record = again;
            }
        }
        self.producer.flush(PATIENCE).unwrap();
    }

    /// Puts numbers into a partition, as JSON; number 5 is of the time 1005.
    pub fn send(&self, partition: i32, numbers: impl IntoIterator<Item = u32>) {
        let record = |number: u32| (1000 + i64::from(number), number.to_string());
        self.send_at(partition, numbers.into_iter().map(record));
    }

    /// Reads its numbers.
    pub fn numbers(&self) -> KafkaSource<JsonValue<u32>> {
        KafkaSource::json(&self.name).brokers(self.kafka.address()).look_every(Duration::ZERO)
    }
}

/// An engine that runs a job.
pub struct Life {
    pub engine: Engine,
    events: Receiver<Event>,
}

impl Life {
    pub async fn start(job: &Job, threads: u32, restore: Restore) -> Self {
        Self::with_clock(job, threads, restore, Arc::new(SystemClock::new())).await
    }

    pub async fn with_clock(
        job: &Job,
        threads: u32,
        restore: Restore,
        clock: Arc<dyn Clock>,
    ) -> Self {
        match Self::try_start(job, threads, restore, clock).await {
            Ok(life) => life,
            Err(error) => panic!("{error:?}"),
        }
    }

    pub async fn try_start(
        job: &Job,
        threads: u32,
        restore: Restore,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let deployment = Deployment {
            run: Run(restore.epoch.0 + 1),
            job: "test/kafka".into(),
            threads: vec![threads],
            worker: WorkerIndex(0),
            restore,
            history: History::default(),
            clock,
        };
        let (engine, events) = Engine::deploy(job, deployment)?;
        let mut life = Self { engine, events };
        match life.next().await {
            Event::Restored => {}
            Event::Failed(error) => return Err(error),
            event => panic!("{event:?}"),
        }
        life.engine.recover().await?;
        life.engine.start();
        Ok(life)
    }

    async fn next(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("nothing comes").unwrap()
    }

    /// Waits for the failure that comes.
    pub async fn failure(&mut self) -> Error {
        match self.next().await {
            Event::Failed(error) => error,
            event => panic!("{event:?}"),
        }
    }

    pub async fn end(&mut self) {
        match self.next().await {
            Event::Ended => {}
            event => panic!("{event:?}"),
        }
    }

    /// Cuts a snapshot.
    pub async fn snapshot(&mut self, epoch: u64) -> Vec<Share> {
        self.engine.barrier(Barrier { epoch: Epoch(epoch), stopping: false });
        let mut shares = Vec::new();
        while shares.len() < self.engine.shares() {
            match self.next().await {
                Event::Share(_, share) => shares.push(share.unwrap()),
                Event::Ended => {}
                event => panic!("{event:?}"),
            }
        }
        shares
    }

    pub async fn commit(&self, epoch: u64) {
        self.engine.published(Epoch(epoch));
        self.engine.committer().commit(Epoch(epoch)).await.unwrap();
    }

    /// What the tasks of an operator say of themselves.
    pub fn counters(&self, operator: &str) -> impl Iterator<Item = &Counters> {
        let infos = self.engine.tasks().iter().filter(move |info| &*info.operator == operator);
        infos.map(|info| &*info.counters)
    }

    pub fn taken_in(&self) -> u64 {
        self.counters("out").map(|it| it.records_in.load(Ordering::Relaxed)).sum()
    }

    /// Waits until the sink has taken in so many records, and no more.
    pub async fn until(&mut self, records: u64) {
        self.until_true(|life| life.taken_in() >= records).await;
        assert_eq!(self.taken_in(), records);
    }

    pub async fn until_true(&mut self, is_true: impl Fn(&Self) -> bool) {
        for _ in 0..PATIENCE.as_millis() / 5 {
            if is_true(self) {
                return;
            }
            let pause = Duration::from_millis(5);
            if let Ok(event) = tokio::time::timeout(pause, self.events.recv()).await {
                panic!("{event:?}");
            }
        }
        panic!("it does not come to that, with {} records taken in", self.taken_in());
    }
}

/// The smallest watermark that the source's tasks have said.
pub fn watermark(life: &Life) -> i64 {
    life.counters("in").map(|it| it.watermark.load(Ordering::Relaxed)).min().unwrap()
}

pub fn restore(epoch: u64, shares: &[Share]) -> Restore {
    let mut restore = Restore::new(Epoch(epoch), Plan::default());
    for share in shares {
        let groups = share.index.groups;
        restore.add(RestoredPart::new(share.body.clone(), groups).unwrap());
    }
    restore
}

/// What a source says that does not open.
pub async fn refused(job: &Job, restore: Restore) -> Error {
    let clock = Arc::new(SystemClock::new());
    match Life::try_start(job, 1, restore, clock).await {
        Ok(_) => panic!("it starts"),
        Err(error) => error,
    }
}
