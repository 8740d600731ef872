//! The suite that every store passes.

use std::sync::Arc;

use millstream_dataflow::Kind;
use millstream_dataflow::snapshot::{Put, Store};

use super::{FileStore, MemoryStore};

#[cfg(feature = "s3")]
use millstream_testkit::S3;

async fn conforms(store: Arc<dyn Store>) {
    assert_eq!(store.read("log/1").await.unwrap(), None);
    assert_eq!(store.list("log/", "").await.unwrap(), [""; 0]);
    assert_eq!(store.create("log/1", b"one").await.unwrap(), Put::Created);
    assert_eq!(store.create("log/1", b"other").await.unwrap(), Put::Exists);
    assert_eq!(store.read("log/1").await.unwrap().unwrap(), b"one");
    store.overwrite("log/1", b"uno!").await.unwrap();
    assert_eq!(store.read("log/1").await.unwrap().unwrap(), b"uno!");
    for name in ["log/3", "log/2", "parts/7/1/0-a", "parts/7/2/0-b"] {
        assert_eq!(store.create(name, name.as_bytes()).await.unwrap(), Put::Created);
    }
    assert_eq!(store.list("log/", "").await.unwrap(), ["log/1", "log/2", "log/3"]);
    assert_eq!(store.list("log/", "log/1").await.unwrap(), ["log/2", "log/3"]);
    assert_eq!(store.list("parts/", "").await.unwrap(), ["parts/7/1/0-a", "parts/7/2/0-b"]);
    assert_eq!(store.list("parts/7/2/", "").await.unwrap(), ["parts/7/2/0-b"]);
    assert_eq!(store.read_range("log/1", 1, 2).await.unwrap(), b"no");
    for (name, offset, length) in [("log/1", 3, 2), ("log/9", 0, 1)] {
        let error = store.read_range(name, offset, length).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains(name), "{error}");
    }
    let large: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(store.create("parts/8/3/0-c", &large).await.unwrap(), Put::Created);
    assert_eq!(store.create("parts/8/3/0-c", b"other").await.unwrap(), Put::Exists);
    assert_eq!(store.create("parts/8/3/0-c", &large).await.unwrap(), Put::Exists);
    assert!(store.read("parts/8/3/0-c").await.unwrap().unwrap() == large);
    let read = store.read_range("parts/8/3/0-c", 7, large.len() as u64 - 9).await.unwrap();
    assert!(read == large[7..large.len() - 2]);
    let error = store.read_range("parts/8/3/0-c", 7, large.len() as u64).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    store.delete("log/2").await.unwrap();
    store.delete("log/2").await.unwrap();
    assert_eq!(store.list("log/", "").await.unwrap(), ["log/1", "log/3"]);
    one_of_many_wins(store).await;
}

/// Rounds beside each other: a contended key takes a bucket seconds.
async fn one_of_many_wins(store: Arc<dyn Store>) {
    let mut rounds = tokio::task::JoinSet::new();
    for round in 0..20 {
        rounds.spawn(one_wins(store.clone(), format!("race/{round}")));
    }
    rounds.join_all().await;
}

async fn one_wins(store: Arc<dyn Store>, name: String) {
    let mut attempts = tokio::task::JoinSet::new();
    for attempt in 0..8 {
        let (store, name) = (store.clone(), name.clone());
        attempts.spawn(async move {
            let put = store.create(&name, format!("{attempt}").as_bytes()).await.unwrap();
            (attempt, put)
        });
    }
    let done = attempts.join_all().await;
    let winners: Vec<_> = done.iter().filter(|(_, put)| *put == Put::Created).collect();
    assert_eq!(winners.len(), 1);
    let bytes = store.read(&name).await.unwrap().unwrap();
    assert_eq!(bytes, winners[0].0.to_string().as_bytes());
}

#[tokio::test]
async fn the_file_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(Arc::new(FileStore::new(folder.path().join("deep/down")))).await;
}

#[tokio::test]
async fn the_memory_store_conforms() {
    conforms(Arc::new(MemoryStore::default())).await;
}

#[cfg(feature = "s3")]
#[tokio::test]
async fn the_s3_store_conforms() {
    let s3 = S3::shared();
    let store = super::s3::tests::store(&s3.endpoint(), S3::WRITER, "suite/").await;
    conforms(Arc::new(store)).await;
}
