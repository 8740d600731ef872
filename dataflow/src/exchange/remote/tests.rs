//! Both ends of a channel, with messages carried by hand.

use std::num::NonZeroU32;

use millstream_protocol::id::Epoch;

use super::super::codec;
use super::*;
use crate::batch::Batch;
use crate::exchange::{Event, Receiver, Sender};
use crate::task::Barrier;
use crate::time::Timestamp;

const CHANNEL: u32 = 5;

/// A channel from process 0 to process 1, and what carries its messages.
struct Rig {
    sender: Sender,
    receiver: Receiver,
    out: Outgoing,
    into: Incoming,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    /// With a window of a share in all windows.
    fn new(channels: u32) -> Self {
        let (here, there) = (WorkerIndex(0), WorkerIndex(1));
        let (bell, channels) = (Doorbell::default(), NonZeroU32::new(channels).unwrap().get());
        let mut of_sender = LinksBuilder::new(Run(3), 0);
        let sender = of_sender.sender(there, CHANNEL, bell.clone(), codec::<String>());
        let mut of_receiver = LinksBuilder::new(Run(3), channels as usize);
        let receiver = of_receiver.receiver(here, CHANNEL, bell, codec::<String>());
        let (out, into) = (of_sender.finish().outgoing(there), of_receiver.finish().incoming(here));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Self {
            sender: Sender::Remote(sender),
            receiver: Receiver::Remote(receiver),
            out: out.unwrap(),
            into: into.unwrap(),
            runtime: runtime.unwrap(),
        }
    }

    /// What there is to carry now.
    fn message<'a>(&self, next: impl Future<Output = Option<Vec<u8>>> + 'a) -> Option<Vec<u8>> {
        let soon = std::time::Duration::from_millis(1);
        self.runtime.block_on(async { tokio::time::timeout(soon, next).await }).ok().flatten()
    }

    /// Carries grants, then what may be sent; returns how many bytes that was.
    fn carry(&mut self) -> usize {
        while let Some(grants) = self.message(self.into.next_grants()) {
            self.out.granted(&grants).unwrap();
        }
        self.sender.flush().unwrap();
        let mut bytes = 0;
        while let Some(message) = self.message(self.out.next()) {
            bytes += message.len();
            self.into.take(&message).unwrap();
        }
        bytes
    }

    /// What the receiver takes in, as text.
    fn received(&mut self) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(event) = self.receiver.receive().unwrap() {
            seen.push(match event {
                Event::Batch(batch) => {
                    let batch = batch.downcast::<Batch<String>>().unwrap();
                    let lengths = batch.records.iter().map(|record| record.len().to_string());
                    lengths.collect::<Vec<_>>().join(" ")
                }
                Event::Watermark(time) => format!("to {}", time.0),
                Event::Idle => "idle".to_owned(),
                Event::Barrier(barrier) => format!("{} {}", barrier.epoch, barrier.stopping),
                Event::End => "end".to_owned(),
            });
        }
        seen
    }
}

fn batch(lengths: &[usize]) -> Event {
    let records = lengths.iter().map(|length| "x".repeat(*length)).collect();
    Event::Batch(Box::new(Batch::<String>::untimed(records)))
}

fn barrier(epoch: u64, stopping: bool) -> Event {
    Event::Barrier(Barrier { epoch: Epoch(epoch), stopping })
}

#[test]
fn events_arrive_in_order_and_marks_need_no_room() {
    let mut rig = Rig::new(1);
    for event in [Event::Idle, Event::Watermark(Timestamp(3)), barrier(1, false)] {
        rig.sender.send(event);
        assert!(!rig.sender.is_blocked());
    }
    rig.sender.send(batch(&[1, 2]));
    assert!(rig.sender.is_blocked(), "nothing is granted yet");
    rig.sender.send(barrier(2, true));
    rig.sender.send(Event::End);
    rig.carry();
    assert!(!rig.sender.is_blocked());
    assert_eq!(rig.received(), ["idle", "to 3", "1 false", "1 2", "2 true", "end"]);
}

#[test]
fn watermarks_next_to_each_other_become_one() {
    let mut rig = Rig::new(1);
    for time in [1, 5, 9] {
        rig.sender.send(Event::Watermark(Timestamp(time)));
    }
    rig.sender.send(Event::Idle);
    rig.sender.send(Event::Watermark(Timestamp(9)));
    rig.carry();
    assert_eq!(rig.received(), ["to 9", "idle", "to 9"]);
}

#[test]
fn a_receiver_that_takes_nothing_holds_its_window_and_a_frame_and_no_more() {
    let mut rig = Rig::new(1000);
    for _ in 0..100 {
        rig.sender.send(batch(&[40_000]));
    }
    let mut carried = 0;
    for _ in 0..10 {
        carried += rig.carry();
    }
    let window = WINDOW_MIN as usize;
    assert!((window..window + 50_000).contains(&carried), "{carried} bytes");
    let mut seen = 0;
    while seen < 100 {
        let now = rig.received().len();
        seen += now;
        let more = rig.carry();
        assert!(more < window + 50_000, "{more} bytes at once");
        assert!(now > 0 || more > 0, "stuck after {seen}");
    }
    assert!(!rig.sender.is_blocked());
}

#[test]
fn a_record_larger_than_the_window_passes() {
    let mut rig = Rig::new(1000);
    rig.sender.send(batch(&[3, 8 << 20, 4]));
    rig.sender.send(Event::End);
    let mut seen = Vec::new();
    for _ in 0..400 {
        assert!(rig.carry() < 400_000);
        seen.extend(rig.received());
    }
    assert_eq!(seen, ["3 8388608", "4", "end"]);
}

#[test]
fn what_is_not_of_this_run_and_this_channel_is_not_taken() {
    let mut rig = Rig::new(1);
    rig.sender.send(Event::Idle);
    rig.sender.send(Event::End);
    let message = rig.message(rig.out.next()).unwrap();
    let into = |run: u64, channel: u32| {
        let mut links = LinksBuilder::new(Run(run), 1);
        let receiver =
            links.receiver(WorkerIndex(0), channel, Doorbell::default(), codec::<String>());
        (Receiver::Remote(receiver), links.finish().incoming(WorkerIndex(0)).unwrap())
    };
    let (mut later, of_later) = into(4, CHANNEL);
    of_later.take(&message).unwrap();
    assert!(later.receive().unwrap().is_none());
    let error = into(3, CHANNEL + 1).1.take(&message).unwrap_err();
    assert!(error.to_string().contains("channel 5"), "{error}");
    rig.into.take(&message).unwrap();
    let error = rig.into.take(&message).unwrap_err();
    assert!(error.to_string().contains("came in the place of"), "{error}");
    assert_eq!(rig.received(), ["idle", "end"]);
}
