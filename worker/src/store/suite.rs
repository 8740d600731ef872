//! The suite that every store passes.

use std::sync::Arc;

use millstream_dataflow::Kind;
use millstream_dataflow::snapshot::{Put, Store};

use super::{FileStore, MemoryStore};

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
    store.delete("log/2").await.unwrap();
    store.delete("log/2").await.unwrap();
    assert_eq!(store.list("log/", "").await.unwrap(), ["log/1", "log/3"]);
    one_of_many_wins(store).await;
}

async fn one_of_many_wins(store: Arc<dyn Store>) {
    for round in 0..20 {
        let name = format!("race/{round}");
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
