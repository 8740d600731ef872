//! Listing what is in a bucket, page by page.

use millstream_s3::{Fault, repeat};

use super::{Bucket, Verb};
use crate::error::Result;

/// The next page of a listing begins there; none where there is no next page.
pub(in super::super) type Next = Option<String>;

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Listed {
    pub(in super::super) key: String,
    pub(in super::super) bytes: u64,
    /// Without its quotes.
    pub(in super::super) etag: String,
}

impl Bucket {
    /// A page of the objects below a prefix, in order of key: those that sort behind `after`, or
    /// where an earlier page ended.
    pub(in super::super) async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        next: Next,
    ) -> Result<(Vec<Listed>, Next)> {
        let request = || async {
            let list = self.0.client.list_objects_v2().bucket(&self.0.name).prefix(prefix);
            let after = after.filter(|_| next.is_none()).map(str::to_owned);
            let list = list.set_start_after(after).set_continuation_token(next.clone());
            let page = list.send().await?;
            let more = page.is_truncated() == Some(true);
            let next = page.next_continuation_token().map(str::to_owned).filter(|_| more);
            let listed = page.contents.unwrap_or_default().into_iter().filter_map(|it| {
                let bytes = it.size.and_then(|bytes| u64::try_from(bytes).ok())?;
                Some(Listed { key: it.key?, bytes, etag: without_quotes(it.e_tag) })
            });
            Ok::<_, Fault>((listed.collect(), next))
        };
        match repeat(self.0.patience.small, request).await {
            Ok(page) => Ok(self.works(Verb::List, page)),
            Err(failed) => Err(self.error(Verb::List, prefix, &failed)),
        }
    }

    /// All objects below a prefix.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let (page, more) = self.page(prefix, None, next).await?;
            all.extend(page);
            if more.is_none() {
                return Ok(all);
            }
            next = more;
        }
    }
}

/// An `ETag` as messages and positions have it.
pub(super) fn without_quotes(etag: Option<String>) -> String {
    etag.map_or_else(String::new, |etag| etag.trim_matches('"').to_owned())
}
