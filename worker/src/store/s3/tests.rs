//! The store against a real endpoint, by itself and behind a proxy with faults.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::Credentials as Keys;
use millstream_s3::Limits;
use millstream_testkit::{Credentials, Fault, Proxy, Request, S3};

use super::*;

/// Time-outs for faults that last: short, and long enough for a busy machine to answer in.
const SHORT: Patience = {
    let limits = Limits { attempt: Duration::from_secs(1), total: Duration::from_secs(3) };
    Patience { small: limits, bulk: limits }
};

/// The smallest piece that S3 takes.
const PIECE: u64 = 5 << 20;

/// A store in the test's bucket.
pub(in crate::store) async fn store(endpoint: &str, who: Credentials, root: &str) -> S3Store {
    let access = Access { endpoint: Some(endpoint.to_owned()), ..Access::default() };
    let keys = Keys::new(who.key, who.secret, None, None, "test");
    let loader = millstream_s3::loader(&access).await.credentials_provider(keys);
    let (client, endpoint) = millstream_s3::connect(loader, &access).await;
    S3Store::with_client(client, S3::BUCKET, root.to_owned(), endpoint)
}

/// An endpoint, a proxy in front of it, and a store behind that.
struct Rig {
    s3: Arc<S3>,
    proxy: Proxy,
    store: S3Store,
}

async fn rig(root: &str) -> Rig {
    let s3 = S3::shared();
    let proxy = Proxy::to(s3.port());
    let mut store = store(&proxy.endpoint(), S3::WRITER, root).await;
    store.piece_bytes = PIECE;
    Rig { s3, proxy, store }
}

impl Rig {
    /// The next `times` requests of which `which` is true meet this fault.
    fn fault(&self, times: u32, fault: Fault, which: impl Fn(&Request) -> bool + Send + 'static) {
        let mut left = times;
        self.proxy.rule(move |request| {
            if left == 0 || !which(request) {
                return Fault::None;
            }
            left -= 1;
            fault
        });
    }

    /// How many requests of this method have been made for names that hold this.
    fn count(&self, method: &str, part: &str) -> usize {
        let seen = self.proxy.seen();
        seen.iter().filter(|it| it.method == method && it.target.contains(part)).count()
    }
}

fn is(method: &'static str) -> impl Fn(&Request) -> bool + Send {
    move |request| request.method == method
}

fn large(seed: u32) -> Vec<u8> {
    (0..3_000_000).flat_map(|i: u32| (i ^ seed).to_le_bytes()).collect()
}

#[tokio::test]
async fn a_store_that_answers_503_is_asked_again() {
    let rig = rig("busy/").await;
    let store = &rig.store;
    rig.fault(2, Fault::Answer(503), is("PUT"));
    assert_eq!(store.create("log/1", b"one").await.unwrap(), Put::Created);
    rig.fault(2, Fault::Answer(503), is("GET"));
    assert_eq!(store.read("log/1").await.unwrap().unwrap(), b"one");
    rig.fault(2, Fault::Answer(500), is("GET"));
    assert_eq!(store.read_range("log/1", 1, 2).await.unwrap(), b"ne");
    rig.fault(2, Fault::Answer(429), is("GET"));
    assert_eq!(store.list("", "").await.unwrap(), ["log/1", "probe"]);
    rig.fault(2, Fault::Answer(503), is("PUT"));
    store.overwrite("log/1", b"two").await.unwrap();
    rig.fault(2, Fault::Answer(503), is("DELETE"));
    store.delete("log/1").await.unwrap();
    assert_eq!(rig.s3.read("busy/log/1"), None);
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_told_apart_from_anothers() {
    let rig = rig("lost/").await;
    rig.fault(1, Fault::Swallow, |it| it.method == "PUT" && it.target.contains("log/1"));
    assert_eq!(rig.store.create("log/1", b"own").await.unwrap(), Put::Created);
    assert_eq!(rig.count("PUT", "log/1"), 2, "the first was carried out, the second refused");
    assert_eq!(rig.count("HEAD", "log/1"), 1);

    let other = store(&rig.s3.endpoint(), S3::WRITER, "lost/").await;
    assert_eq!(other.create("log/2", b"foreign").await.unwrap(), Put::Created);
    rig.fault(1, Fault::Swallow, |it| it.method == "PUT" && it.target.contains("log/2"));
    assert_eq!(rig.store.create("log/2", b"own").await.unwrap(), Put::Exists);
    // Equal bytes of another call are another's all the same.
    assert_eq!(rig.store.create("log/2", b"foreign").await.unwrap(), Put::Exists);
    assert_eq!(rig.s3.read("lost/log/2").unwrap(), b"foreign");
}

#[tokio::test]
async fn a_create_whose_every_answer_is_lost_is_not_said_to_have_failed_for_good() {
    let mut rig = rig("unknown/").await;
    rig.store.probe().await.unwrap();
    rig.store.patience = SHORT;
    rig.fault(u32::MAX, Fault::Swallow, |it| it.target.contains("log/1"));
    let error = rig.store.create("log/1", b"own").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(rig.s3.read("unknown/log/1").unwrap(), b"own");
}

#[tokio::test]
async fn a_refusal_after_an_attempt_that_may_have_succeeded_is_not_for_good() {
    let rig = rig("unsure/").await;
    let mut nth = 0;
    rig.proxy.rule(move |request| {
        if request.method != "PUT" {
            return Fault::None;
        }
        nth += 1;
        if nth == 1 { Fault::Answer(500) } else { Fault::Answer(403) }
    });
    let error = rig.store.create("log/1", b"own").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    rig.fault(1, Fault::Answer(403), is("PUT"));
    let error = rig.store.create("log/1", b"own").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert_eq!(rig.store.create("log/1", b"own").await.unwrap(), Put::Created);
    rig.fault(1, Fault::Answer(403), is("PUT"));
    let error = rig.store.create("log/2", b"own").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "it has worked before: {error}");
}

#[tokio::test]
async fn a_large_object_survives_every_lost_answer_and_leaves_no_pieces() {
    let rig = rig("large/").await;
    rig.store.probe().await.unwrap();
    let bytes = large(0);
    // Every request's answer is lost the first time: beginning, each piece, completion.
    let mut seen = Vec::new();
    rig.proxy.rule(move |request| {
        let is_new = !seen.contains(request);
        seen.push(request.clone());
        if is_new { Fault::Swallow } else { Fault::None }
    });
    assert_eq!(rig.store.create("parts/1", &bytes).await.unwrap(), Put::Created);
    rig.proxy.pass();
    assert!(rig.s3.read("large/parts/1").unwrap() == bytes);
    assert_eq!(rig.count("PUT", "partNumber=3"), 2, "{:?}", rig.proxy.seen());
    assert_eq!(rig.store.unfinished("").await, []);

    let read = rig.store.read_range("parts/1", 1, bytes.len() as u64 - 1).await.unwrap();
    assert!(read == bytes[1..]);
}

#[tokio::test]
async fn a_large_object_does_not_replace_anothers() {
    let rig = rig("foreign/").await;
    let other = store(&rig.s3.endpoint(), S3::WRITER, "foreign/").await;
    other.create("parts/1", b"foreign").await.unwrap();
    assert_eq!(rig.store.create("parts/1", &large(1)).await.unwrap(), Put::Exists);
    assert_eq!(rig.s3.read("foreign/parts/1").unwrap(), b"foreign");
    assert_eq!(rig.store.unfinished("").await, []);
}

#[tokio::test]
async fn a_large_object_that_cannot_be_completed_leaves_no_pieces() {
    let mut rig = rig("pieces/").await;
    rig.store.probe().await.unwrap();
    rig.store.patience = SHORT;
    rig.fault(u32::MAX, Fault::Answer(503), |it| it.target.contains("partNumber=2"));
    let error = rig.store.create("parts/1", &large(2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(rig.store.unfinished("").await, []);
    assert_eq!(rig.s3.read("pieces/parts/1"), None);
}

#[tokio::test]
async fn what_a_killed_process_left_is_removed_by_a_later_one() {
    let rig = rig("killed/").await;
    rig.store.begin("parts/1", "writer").await.unwrap();
    let [(_, _, begun)] = &rig.store.unfinished("").await[..] else { panic!("one is unfinished") };
    let day = Duration::from_hours(24);
    rig.store.sweep(*begun + Duration::from_hours(23)).await;
    assert_eq!(rig.store.unfinished("").await.len(), 1, "it may still be going on");
    rig.store.sweep(*begun + day).await;
    assert_eq!(rig.store.unfinished("").await, []);
}

#[tokio::test]
async fn a_store_that_hangs_is_given_up_in_bounded_time_and_works_when_it_is_back() {
    let mut rig = rig("hang/").await;
    rig.store.create("log/1", b"one").await.unwrap();
    rig.store.patience = SHORT;
    rig.fault(u32::MAX, Fault::Hang, |_| true);
    let bound = SHORT.small.total + SHORT.small.total;
    let (put, read) = tokio::time::timeout(bound, async {
        tokio::join!(rig.store.create("log/2", b"two"), rig.store.read("log/1"))
    })
    .await
    .unwrap();
    let error = put.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let message = error.to_string();
    assert!(message.starts_with("cannot write s3://snapshots/hang/log/2: http://127"), "{message}");
    assert!(message.contains("no answer within 1s"), "{message}");
    assert_eq!(read.unwrap_err().kind(), Kind::Unavailable);
    rig.proxy.pass();
    assert_eq!(rig.store.create("log/2", b"two").await.unwrap(), Put::Created);
    assert_eq!(rig.store.read("log/1").await.unwrap().unwrap(), b"one");
}

#[tokio::test]
async fn one_attempt_that_hangs_does_not_fail_a_request() {
    let mut rig = rig("once/").await;
    rig.store.patience = SHORT;
    rig.store.probe().await.unwrap();
    rig.fault(1, Fault::Hang, |_| true);
    assert_eq!(rig.store.create("log/1", b"one").await.unwrap(), Put::Created);
    rig.fault(1, Fault::Hang, |_| true);
    assert_eq!(rig.store.read("log/1").await.unwrap().unwrap(), b"one");
}

#[tokio::test]
async fn a_slow_store_is_waited_for() {
    let mut rig = rig("slow/").await;
    rig.store.patience = SHORT;
    rig.store.probe().await.unwrap();
    rig.proxy.rule(|_| Fault::Slow(SHORT.small.attempt / 4));
    assert_eq!(rig.store.create("log/1", b"one").await.unwrap(), Put::Created);
    assert_eq!(rig.store.read("log/1").await.unwrap().unwrap(), b"one");
    assert_eq!(rig.count("PUT", "log/1"), 1);
    // An answer that comes too late is one that was lost.
    rig.fault(1, Fault::Slow(SHORT.small.attempt * 2), is("PUT"));
    assert_eq!(rig.store.create("log/2", b"two").await.unwrap(), Put::Created);
    assert_eq!(rig.s3.read("slow/log/2").unwrap(), b"two");
}

#[tokio::test]
async fn a_body_that_was_cut_is_read_again() {
    let rig = rig("torn/").await;
    let bytes = large(3);
    rig.store.create("parts/1", &bytes).await.unwrap();
    rig.fault(3, Fault::Tear, is("GET"));
    assert!(rig.store.read("parts/1").await.unwrap().unwrap() == bytes);
    rig.fault(3, Fault::Tear, is("GET"));
    let read = rig.store.read_range("parts/1", 0, bytes.len() as u64).await.unwrap();
    assert!(read == bytes);
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused() {
    let rig = rig("ignores/").await;
    rig.fault(2, Fault::Answer(200), is("PUT"));
    let error = rig.store.create("log/1", b"one").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("ignores If-None-Match"), "{error}");
    assert_eq!(rig.s3.read("ignores/log/1"), None);
    // One that does not know it at all says so.
    rig.fault(1, Fault::Answer(501), is("PUT"));
    let error = rig.store.create("log/1", b"one").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("conditional writes"), "{error}");
}

#[tokio::test]
async fn a_listing_has_many_pages() {
    let rig = rig("pages/").await;
    let names: Vec<_> = (0..1200).map(|i| format!("parts/{i:04}")).collect();
    let creates = names.iter().map(|name| rig.store.overwrite(name, b""));
    let creates: Vec<_> = creates.collect();
    let made = futures::stream::iter(creates).buffered(16);
    made.try_collect::<Vec<()>>().await.unwrap();
    assert_eq!(rig.store.list("parts/", "").await.unwrap(), names);
    assert_eq!(rig.store.list("parts/", "parts/0099").await.unwrap(), names[100..]);
    assert_eq!(rig.store.list("parts/11", "").await.unwrap(), names[1100..]);
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let s3 = S3::shared();
    let endpoint = s3.endpoint();
    let with = |key, secret| store(&endpoint, Credentials { key, secret }, "refused/");
    let refused = |store: S3Store| async move { store.create("log/1", b"").await.unwrap_err() };
    let begin = "cannot write s3://snapshots/refused/probe: ";

    let error = refused(with(S3::READER.key, S3::READER.secret).await).await;
    let message = error.to_string();
    assert!(message.starts_with(&format!("{begin}access denied: allow s3:GetObject")), "{message}");
    assert_eq!(error.kind(), Kind::Invalid);

    let error = refused(with("nobody", "secret").await).await;
    let message = error.to_string();
    assert!(message.starts_with(&format!("{begin}the store does not know the access key")));
    assert_eq!(error.kind(), Kind::Invalid);

    let error = refused(with(S3::WRITER.key, "wrong").await).await;
    let message = error.to_string();
    assert!(message.starts_with(&format!("{begin}the secret key does not fit")), "{message}");
    assert_eq!(error.kind(), Kind::Invalid);

    let mut elsewhere = store(&endpoint, S3::WRITER, "refused/").await;
    elsewhere.bucket = "nowhere".to_owned();
    let error = elsewhere.create("log/1", b"").await.unwrap_err();
    let no_bucket = format!(
        "cannot write s3://nowhere/refused/probe: {endpoint} has no bucket nowhere: create it, or \
         correct spec.snapshots.store"
    );
    assert!(error.to_string().starts_with(&no_bucket), "{error}");
    assert_eq!(error.kind(), Kind::Invalid);
    let error = elsewhere.read("log/1").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "a bucket that is missing is no missing object");

    // Nothing listens on the port of a listener that is gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut unreachable = store(&format!("http://{gone}"), S3::WRITER, "refused/").await;
    unreachable.patience = SHORT;
    let error = unreachable.create("log/1", b"").await.unwrap_err();
    let begin = format!("{begin}http://{gone} does not answer: Connection refused");
    assert!(error.to_string().starts_with(&begin), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
}
