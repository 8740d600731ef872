//! [`KafkaWriter`]: takes the records of one task in. Exactly once, it keeps them in the outbox; at
//! least once, it hands them to librdkafka.
//!
//! Receives batches from the engine; hands the outbox to the snapshot and to [`super::commit`].
//! Invariant: a snapshot counts only when everything before it is in its part, or delivered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_protocol::id::Epoch;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::{BaseProducer, Producer as _};

use super::super::fault::code_of;
use super::commit::Shared;
use super::destination::Destination;
use super::flight::{Flight, Outgoing, not_taken, send, too_large};
use super::message::{OutboundMessage, Serializer, Stored};
use super::outbox::Outbox;
use super::stop::Stop;
use super::{Choices, KafkaPending};
use crate::batch::Batch;
use crate::error::Result;
use crate::sink::{Prepared, Room, Writer};

/// How long the snapshot's thread waits for deliveries before it looks again.
const DELIVERY_WAIT: Duration = Duration::from_millis(5);

/// Takes the records of one task in.
pub struct KafkaWriter<S: Serializer> {
    pub(super) serializer: S,
    pub(super) choices: Choices<S::Record>,
    pub(super) message: OutboundMessage,
    pub(super) message_bytes_max: usize,
    pub(super) task: u32,
    pub(super) to: Arc<Destination>,
    pub(super) shared: Arc<Shared>,
    pub(super) way: Way,
}

/// Where messages go.
pub(super) enum Way {
    Outbox(Outbox),
    Direct(Direct),
}

impl<S: Serializer> Writer for KafkaWriter<S> {
    type Item = S::Record;
    type Pending = KafkaPending;

    fn write(&mut self, batch: Batch<S::Record>) -> Result<()> {
        let partitions = self.shared.partitions.load(Ordering::Relaxed);
        for (record, time) in batch.into_timed() {
            self.message.begin(time);
            self.serializer.serialize(&record, &mut self.message)?;
            for choice in &self.choices {
                choice(&record, partitions, &mut self.message)?;
            }
            let message = self.message.stored();
            if message.wire_bytes() > self.message_bytes_max {
                return Err(too_large(&self.to.topic, message.wire_bytes()));
            }
            match &mut self.way {
                Way::Outbox(outbox) => outbox.push(&message)?,
                Way::Direct(direct) => direct.push(&message)?,
            }
        }
        if let Way::Direct(direct) = &mut self.way {
            direct.send()?;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepared<KafkaPending>> {
        match &mut self.way {
            Way::Direct(direct) => direct.prepare(),
            Way::Outbox(outbox) => {
                let content = outbox.take()?;
                let (task, previous) = (self.task, self.shared.token());
                let topic = self.to.topic.clone();
                // Of an empty outbox too: its token tells a later run where it stands.
                let pending = Some(KafkaPending { task, epoch, previous, topic, content });
                Ok(Prepared { pending, durable: None })
            }
        }
    }

    fn room(&mut self) -> Result<Room> {
        match &mut self.way {
            Way::Outbox(outbox) if outbox.is_full() => Ok(Room::UntilBarrier),
            Way::Outbox(_) => Ok(Room::Enough),
            Way::Direct(direct) => direct.send(),
        }
    }

    fn wants_snapshot(&self) -> bool {
        matches!(&self.way, Way::Outbox(outbox) if outbox.is_half_full())
    }

    fn settled(&mut self, _: Epoch, published: bool) {
        if let Way::Outbox(outbox) = &mut self.way {
            outbox.settled(published);
        }
    }
}

/// Messages of one epoch that librdkafka has had no room for.
struct Waiting {
    flight: Arc<Flight>,
    bytes: Vec<u8>,
    sent_bytes: usize,
}

/// Hands messages to librdkafka as they come.
pub(super) struct Direct {
    producer: Arc<BaseProducer<Outgoing>>,
    to: Arc<Destination>,
    /// The records of the epoch that is being filled.
    flight: Arc<Flight>,
    /// Those of earlier epochs that are still under way.
    earlier: Vec<Arc<Flight>>,
    /// Older before newer; the last belongs to this epoch.
    waiting: VecDeque<Waiting>,
    /// Ends the wait for deliveries when the task is gone.
    stop: Arc<Stop>,
}

impl Direct {
    pub(super) fn new(producer: Arc<BaseProducer<Outgoing>>, to: Arc<Destination>) -> Self {
        let (flight, earlier, waiting) = (Arc::default(), Vec::new(), VecDeque::new());
        Self { producer, to, flight, earlier, waiting, stop: Arc::default() }
    }

    /// Fails where a record was lost: what was not delivered comes back by a replay alone.
    fn check_lost(&mut self) -> Result<()> {
        self.flight.has_landed()?;
        while let Some(first) = self.earlier.first() {
            if !first.has_landed()? {
                break;
            }
            self.earlier.remove(0);
        }
        Ok(())
    }

    fn push(&mut self, message: &Stored<'_>) -> Result<()> {
        let own = self.waiting.back().is_some_and(|last| Arc::ptr_eq(&last.flight, &self.flight));
        if !own {
            let flight = self.flight.clone();
            self.waiting.push_back(Waiting { flight, bytes: Vec::new(), sent_bytes: 0 });
        }
        let last = self.waiting.back_mut().expect("one was put there");
        message.append_to(&mut last.bytes)?;
        last.flight.expect(1);
        Ok(())
    }

    /// Hands over what librdkafka takes.
    fn send(&mut self) -> Result<Room> {
        self.producer.poll(Duration::ZERO);
        self.check_lost()?;
        while let Some(first) = self.waiting.front_mut() {
            let mut rest = &first.bytes[first.sent_bytes..];
            while !rest.is_empty() {
                let (message, behind) = Stored::take_from(rest)?;
                match send(&message, &self.producer, &self.to.topic, first.flight.clone()) {
                    Ok(()) => {}
                    Err(error) if code_of(&error) == Some(Code::QueueFull) => {
                        first.sent_bytes = first.bytes.len() - rest.len();
                        return Ok(Room::None);
                    }
                    Err(error) => {
                        let (told, bytes) = (&self.producer.context().told, message.wire_bytes());
                        return Err(not_taken(&self.to.topic, bytes, &error, told));
                    }
                }
                rest = behind;
            }
            self.waiting.pop_front();
        }
        Ok(Room::Enough)
    }

    /// The snapshot counts once what was written is delivered: the thread that waits for the disk
    /// waits for it.
    fn prepare(&mut self) -> Result<Prepared<KafkaPending>> {
        self.check_lost()?;
        let flight = std::mem::take(&mut self.flight);
        self.earlier.push(flight.clone());
        let (producer, stop) = (self.producer.clone(), self.stop.clone());
        let durable = move || {
            while !flight.has_landed()? {
                producer.poll(Duration::ZERO);
                stop.wait(DELIVERY_WAIT)?;
            }
            Ok(())
        };
        Ok(Prepared { pending: None, durable: Some(Box::new(durable)) })
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.stop.set();
    }
}
