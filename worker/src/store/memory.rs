//! A store in memory: for benchmarks and tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use millstream_dataflow::snapshot::{Put, Store};
use millstream_dataflow::{Error, Result};

/// A store in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl MemoryStore {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        let mut objects = self.objects();
        if objects.contains_key(name) {
            return Ok(Put::Exists);
        }
        objects.insert(name.to_owned(), bytes.to_vec());
        Ok(Put::Created)
    }

    async fn overwrite(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.objects().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.objects().get(name).cloned())
    }

    async fn read_range(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let objects = self.objects();
        let object = objects.get(name);
        let object = object.ok_or_else(|| Error::corrupt(format!("{name} is missing")))?;
        let range = object.get(offset as usize..(offset + length) as usize);
        let range = range.map(<[u8]>::to_vec);
        range.ok_or_else(|| Error::corrupt(format!("{name} is shorter than the manifest says")))
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>> {
        let objects = self.objects();
        let names = objects.keys().filter(|name| name.starts_with(prefix) && name.as_str() > after);
        Ok(names.cloned().collect())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.objects().remove(name);
        Ok(())
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}
