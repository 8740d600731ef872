//! [`Address`]: whether files lie in directories or in a bucket.
//!
//! Made from what a program writes, for source and sink. Pure. Invariant: a setting that has no
//! meaning for an address is refused, not ignored.

use std::path::PathBuf;

use millstream_protocol::access::Access;

use crate::error::{Error, Result};

/// Where files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// On a file system.
    Path(PathBuf),
    /// In a bucket, below or at this key; it may be empty.
    Bucket { bucket: String, key: String },
}

impl Address {
    /// Reads `s3://bucket/key`, `file:///path` and paths.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::invalid(format!("{text}: {why}")));
        if text.is_empty() {
            return Err(Error::invalid(
                "its path is empty: write a path, file:///path or s3://bucket/prefix",
            ));
        }
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
            if bucket.is_empty() || !bucket.bytes().all(ok) {
                return refuse("the bucket must be lower-case letters, digits, '.' and '-'");
            }
            if key.starts_with('/') || key.contains("//") {
                return refuse("write single slashes");
            }
            return Ok(Self::Bucket { bucket: bucket.to_owned(), key: key.to_owned() });
        }
        match text.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => Ok(Self::Path(path.into())),
            Some(("file", _)) => refuse("the path must be absolute: file:///path"),
            // What stands before it is no scheme but a directory, if an odd one.
            Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                refuse("write s3://bucket/prefix, file:///path or a path")
            }
            _ => Ok(Self::Path(text.into())),
        }
    }

    /// Fails if it is said how a bucket is reached, and there is none.
    pub(super) fn check(&self, access: &Access) -> Result<()> {
        match self {
            Self::Path(path) if *access != Access::default() => Err(Error::invalid(format!(
                "{} is no address in S3: endpoint, region and path_style have no meaning for it",
                path.display()
            ))),
            _ => Ok(()),
        }
    }
}

/// The error of a binary that cannot reach buckets.
#[cfg(not(feature = "s3"))]
pub(super) fn not_built(bucket: &str, key: &str) -> Error {
    Error::invalid(format!(
        "s3://{bucket}/{key} is in S3, which this binary cannot open: build it with the feature s3 \
         of millstream-worker, or write a path"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let bucket = |bucket: &str, key: &str| Address::Bucket {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        };
        for (text, expected) in [
            ("out/a", Address::Path("out/a".into())),
            ("/out", Address::Path("/out".into())),
            ("file:///out", Address::Path("/out".into())),
            ("a b://c", Address::Path("a b://c".into())),
            ("s3://bucket", bucket("bucket", "")),
            ("s3://bucket/a/b/", bucket("bucket", "a/b/")),
            ("s3://bucket/a/*.json", bucket("bucket", "a/*.json")),
        ] {
            assert_eq!(Address::parse(text).unwrap(), expected, "{text}");
        }
        for text in ["s3://", "s3:///a", "s3://Bucket/a", "s3://b/a//b", "file://a", "gs://b/a"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_of_buckets_are_refused_for_paths() {
        let access = Access { region: Some("eu-west-1".to_owned()), ..Access::default() };
        let error = Address::parse("out").unwrap().check(&access).unwrap_err();
        assert!(error.to_string().starts_with("out is no address in S3: endpoint"), "{error}");
        Address::parse("s3://out").unwrap().check(&access).unwrap();
        Address::parse("out").unwrap().check(&Access::default()).unwrap();
    }
}
