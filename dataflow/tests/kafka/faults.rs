//! What goes wrong while a topic is read, or before: told clearly, or lived through.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_dataflow::clock::ManualClock;
use millstream_dataflow::connector::collect::Collect;
use millstream_dataflow::connector::kafka::{Decode, KafkaMessage, KafkaSource};
use millstream_dataflow::operator::aggregate::Count;
use millstream_dataflow::snapshot::Restore;
use millstream_dataflow::window::Tumbling;
use millstream_dataflow::{Environment, Job, JobSettings, Kind, Result, Timestamp, Watermarks};
use millstream_testkit::{Kafka, Passage};

use crate::support::{Life, Topic, name, pause, refused, watermark};

fn program<D: Decode>(source: KafkaSource<D>) -> Job {
    let job = Job::new(Default::default());
    job.source("in", source).sink("out", Collect::default());
    job
}

#[tokio::test]
async fn a_broker_that_stops_and_comes_back_is_waited_for() {
    let mut topic = Topic::on(Arc::new(Kafka::start()), 3).await;
    let numbers = |first: u32| first..first + 500;
    (0..3).for_each(|partition| topic.send(partition, numbers(0)));
    let mut life = Life::start(&program(topic.numbers()), 2, Restore::default()).await;
    life.until(1500).await;
    let kafka = Arc::get_mut(&mut topic.kafka).expect("it is this test's alone");
    kafka.kill();
    // Long enough for several attempts to reach it.
    for _ in 0..30 {
        life.until(1500).await;
        pause(100).await;
    }
    Arc::get_mut(&mut topic.kafka).expect("it is this test's alone").restart();
    (0..3).for_each(|partition| topic.send(partition, numbers(1000)));
    life.until(3000).await;
}

#[tokio::test]
async fn what_comes_while_the_broker_is_out_of_reach_is_not_late_however_long_that_is() {
    let topic = Topic::on(Arc::new(Kafka::gated(&[])), 2).await;
    let gate = topic.kafka.gate();
    let job = Job::new(Default::default());
    job.source("in", topic.numbers().brokers(gate.address()))
        .event_time(|number| Timestamp(i64::from(*number)), Watermarks::ascending())
        .key_by(|number| *number)
        .window(Tumbling::of(Duration::from_millis(1)))
        .aggregate("count", |number| *number, Count)
        .sink("out", Collect::default());
    let clock = Arc::new(ManualClock::default());
    let mut life = Life::with_clock(&job, 1, Restore::default(), clock.clone()).await;
    let taken_in = |life: &Life| -> u64 {
        life.counters("count").map(|it| it.records_in.load(Ordering::Relaxed)).sum()
    };
    // Both are read to their ends, and known to be empty for some seconds.
    (0..2).for_each(|partition| topic.send(partition, 0..10));
    life.until_true(|life| taken_in(life) == 20).await;
    pause(2500).await;
    gate.rule(|_| Passage::Hold);
    pause(1000).await;
    clock.set(Timestamp(600_000));
    pause(500).await;
    // More than comes at once: one of the two is read first.
    let numbers = 100..20_000;
    (0..2).for_each(|partition| topic.send(partition, numbers.clone()));
    gate.let_go();
    life.until_true(|life| taken_in(life) == 20 + 2 * numbers.len() as u64).await;
    assert_eq!(life.counters("count").map(|it| it.late.load(Ordering::Relaxed)).sum::<u64>(), 0);
    // Once the broker says again that they are empty, they are idle after their time.
    topic.send(0, [30_000, 30_001]);
    life.until_true(|life| taken_in(life) == 22 + 2 * numbers.len() as u64).await;
    clock.set(Timestamp(629_000));
    pause(2500).await;
    assert!(watermark(&life) < 20_000, "the time is not over");
    topic.send(0, [40_000]);
    clock.set(Timestamp(631_000));
    life.until_true(|life| watermark(life) >= 39_999).await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_while_it_is_read_is_told() {
    let topic = Topic::new(2).await;
    topic.send(0, 0..5);
    let mut life = Life::start(&program(topic.numbers()), 1, Restore::default()).await;
    life.until(5).await;
    topic.delete().await;
    let error = life.failure().await;
    assert_eq!(error.kind(), Kind::Invalid);
    let expected = format!("topic {} was deleted while it was read", topic.name);
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn a_topic_that_is_created_again_while_it_is_read_is_told() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let mut life = Life::start(&program(topic.numbers()), 1, Restore::default()).await;
    life.until(5).await;
    topic.delete().await;
    topic.create(1).await;
    // So many that the old offset is in range.
    topic.send(0, 100..110);
    let error = life.failure().await;
    assert_eq!(error.kind(), Kind::Invalid);
    let expected = format!("topic {} was deleted and created again", topic.name);
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(life.taken_in(), 5);
}

#[tokio::test]
async fn a_topic_that_is_not_there_and_brokers_that_are_not_are_told() {
    let kafka = Kafka::shared();
    let missing = name("missing");
    let source = KafkaSource::text(&missing).brokers(kafka.address());
    let error = refused(&program(source), Restore::default()).await;
    assert_eq!((error.kind(), error.operator()), (Kind::Invalid, Some("in")));
    let expected = format!("cannot read topic {missing}: there is no such topic: create it, or");
    assert!(error.to_string().starts_with(&expected), "{error}");

    let source = KafkaSource::text(&missing).brokers("127.0.0.1:1");
    let error = refused(&program(source), Restore::default()).await;
    assert_eq!(error.kind(), Kind::Unavailable);
    let expected = format!("cannot look at topic {missing}: the brokers do not answer: check");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn one_logs_in_by_either_way_and_a_wrong_password_is_told_and_not_shown() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let environment = Environment::new(|name| match name {
        "RIGHT" => Some(Kafka::READER.secret.to_owned()),
        _ => Some("swordfish".to_owned()),
    });
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let program = |variable| {
            let environment = environment.clone();
            let job = Job::new(JobSettings { environment, ..JobSettings::default() });
            let source = topic
                .numbers()
                .brokers(topic.kafka.login_address())
                .set("security.protocol", "SASL_PLAINTEXT")
                .set("sasl.mechanism", mechanism)
                .set("sasl.username", Kafka::READER.key)
                .set("sasl.password", job.env(variable));
            assert!(!format!("{source:?}").contains(Kafka::READER.secret));
            job.source("in", source).sink("out", Collect::<u32>::default());
            job
        };
        let mut life = Life::start(&program("RIGHT"), 1, Restore::default()).await;
        life.until(5).await;
        let error = refused(&program("WRONG"), Restore::default()).await;
        assert_eq!(error.kind(), Kind::Invalid);
        let message = error.to_string();
        assert!(message.contains("the broker refuses the login: check sasl.username"), "{message}");
        assert!(!message.contains("swordfish"), "{message}");
    }
}

#[tokio::test]
async fn one_reads_over_tls_from_a_broker_whose_certificate_one_trusts_and_from_no_other() {
    let kafka = Arc::new(Kafka::with_tls());
    let topic = Topic::on(kafka.clone(), 1).await;
    topic.send(0, 0..5);
    let source = || {
        let source = topic.numbers().brokers(kafka.tls_address());
        source
            .set("security.protocol", "SASL_SSL")
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", Kafka::READER.key)
            .set("sasl.password", Kafka::READER.secret)
    };
    let trusted = kafka.certificate().to_str().unwrap().to_owned();
    let trusting = program(source().set("ssl.ca.location", trusted));
    let mut life = Life::start(&trusting, 1, Restore::default()).await;
    life.until(5).await;
    let error = refused(&program(source()), Restore::default()).await;
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    let told = "a certificate is refused: check ssl.ca.location";
    assert!(error.to_string().contains(told), "{error}");
}

#[tokio::test]
async fn settings_that_are_not_the_sources_are_refused() {
    let topic = Topic::new(1).await;
    let cases = [
        ("auto.offset.reset", "latest", "auto.offset.reset: Millstream sees to this setting: say"),
        ("group.id", "mine", "group.id: Millstream sees to this setting: to report offsets"),
        ("batch.size", "9", "Configuration property batch.size is a producer property"),
        ("linger", "1", "linger: librdkafka has no such setting"),
    ];
    for (name, value, expected) in cases {
        let error = refused(&program(topic.numbers().set(name, value)), Restore::default()).await;
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn offsets_of_what_is_not_there_are_refused() {
    let topic = Topic::new(2).await;
    let at = |number, offset| [(topic.name.clone(), number, offset)];
    let cases = [
        (topic.numbers().from_offsets(at(2, 0)), "from_offsets: the source reads no partition"),
        (topic.numbers().until_offsets(at(0, -1)), "until_offsets:"),
        (
            topic.numbers().until_offsets(at(0, 1)),
            &*format!("until_offsets: {}-1 has no", topic.name),
        ),
    ];
    for (source, expected) in cases {
        let error = refused(&program(source), Restore::default()).await;
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

/// Panics at the third record.
#[derive(Clone)]
struct Panics(u32);

impl Decode for Panics {
    type Record = u32;

    fn decode(&mut self, _: &KafkaMessage<'_>) -> Result<u32> {
        self.0 += 1;
        assert!(self.0 < 3, "at record {}", self.0);
        Ok(self.0)
    }
}

#[tokio::test]
async fn a_panic_while_decoding_is_the_users() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let source = KafkaSource::of(&topic.name, Panics(0)).brokers(topic.kafka.address());
    let error = Life::start(&program(source), 1, Restore::default()).await.failure().await;
    assert_eq!(error.kind(), Kind::User);
    assert_eq!(error.to_string(), "panicked while decoding: at record 3");
}
