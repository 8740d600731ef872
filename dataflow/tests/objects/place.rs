//! [`Place`]: a prefix of the test's bucket, behind a proxy with faults.

use std::sync::Arc;

use aws_sdk_s3::Client;
use millstream_protocol::access::Access;
use millstream_testkit::{Proxy, S3};

/// A prefix of the test's bucket.
pub(crate) struct Place {
    pub(crate) s3: Arc<S3>,
    pub(crate) proxy: Proxy,
    pub(crate) name: &'static str,
    client: Client,
}

impl Place {
    pub(crate) async fn new(name: &'static str) -> Self {
        let s3 = S3::shared();
        let proxy = Proxy::to(s3.port());
        let access = Access { endpoint: Some(s3.endpoint()), ..Access::default() };
        let loader = millstream_s3::loader(&access).await;
        let (client, _) = millstream_s3::connect(loader, &access).await;
        Self { s3, proxy, name, client }
    }

    pub(crate) fn address(&self) -> String {
        format!("s3://{}/{}", S3::BUCKET, self.name)
    }

    /// Puts an object there, past the proxy.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        self.s3.write(&format!("{}/{name}", self.name), bytes);
    }

    /// The keys that can be seen, in order.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let list = self.client.list_objects_v2().bucket(S3::BUCKET);
        let list = list.prefix(format!("{}/", self.name)).send().await.unwrap();
        assert_ne!(list.is_truncated(), Some(true));
        list.contents.unwrap_or_default().into_iter().filter_map(|it| it.key).collect()
    }

    /// The lines that can be seen, as numbers, sorted.
    pub(crate) async fn numbers(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        for key in self.keys().await {
            let bytes = self.s3.read(&key).unwrap();
            let text = String::from_utf8(bytes).unwrap();
            numbers.extend(text.lines().map(|line| line.parse::<u64>().unwrap()));
        }
        numbers.sort_unstable();
        numbers
    }

    /// The keys of uploads that are not completed.
    pub(crate) async fn unfinished(&self) -> Vec<String> {
        let list = self.client.list_multipart_uploads().bucket(S3::BUCKET);
        let list = list.prefix(format!("{}/", self.name)).send().await.unwrap();
        list.uploads.unwrap_or_default().into_iter().filter_map(|it| it.key).collect()
    }

    /// Gives up all uploads, as a lifecycle rule does.
    pub(crate) async fn expire_uploads(&self) {
        let list = self.client.list_multipart_uploads().bucket(S3::BUCKET);
        let list = list.prefix(format!("{}/", self.name)).send().await.unwrap();
        for upload in list.uploads.unwrap_or_default() {
            let abort = self.client.abort_multipart_upload().bucket(S3::BUCKET);
            abort.set_key(upload.key).set_upload_id(upload.upload_id).send().await.unwrap();
        }
    }
}
