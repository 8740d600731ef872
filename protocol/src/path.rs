//! The one module that spells object names.
//!
//! Received from: the spec (store, namespace, name) and the coordinator (runs, epochs, sequence
//! numbers). Handed to: the stores, which only see finished names, and the log, whose entries hold
//! them. Invariant: every name that [`Name`] prints, it reads back, and it reads nothing else.

use std::fmt;
use std::str::FromStr;

use crate::id::{Epoch, Run, Seq, WorkerIndex};

/// Digits of a log entry's number in its name: with leading zeros, a listing comes in order.
const SEQ_DIGITS: usize = 20;

/// Why a name or address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The scheme is unknown.
    #[error("{uri:?} is not a store: write s3://bucket/prefix, file:///path or file://below/here")]
    Scheme {
        /// What was written.
        uri: String,
    },
    /// The scheme is known, the rest is not well formed.
    #[error("{uri:?} is not a store: {reason}")]
    Store {
        /// What was written.
        uri: String,
        /// What is wrong with it, and what to write instead.
        reason: &'static str,
    },
    /// The namespace or name cannot stand in an object name.
    #[error("{name:?} cannot name a job: write lower-case letters, digits and '-'")]
    Job {
        /// What was written.
        name: String,
    },
    /// The object is none that a job keeps.
    #[error("{name:?} is not an object of a job")]
    Name {
        /// What was read.
        name: String,
    },
    /// The address names no snapshot.
    #[error("{uri:?} is not a snapshot: write <store>/<namespace>/<job>/log/<20 digits>.json")]
    Snapshot {
        /// What was written.
        uri: String,
    },
}

/// Where snapshots are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Store {
    /// A bucket, and a prefix within it that may be empty. No slash at either end.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix within it.
        prefix: String,
    },
    /// A directory on this machine: an absolute path without a slash at its end.
    File {
        /// The directory.
        path: String,
    },
}

impl FromStr for Store {
    type Err = Error;

    fn from_str(uri: &str) -> Result<Self, Error> {
        let refuse = |reason| Error::Store { uri: uri.to_owned(), reason };
        if let Some(rest) = uri.strip_prefix("s3://") {
            let rest = rest.trim_end_matches('/');
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
            if bucket.is_empty() || !bucket.bytes().all(ok) {
                return Err(refuse("the bucket must be lower-case letters, digits, '.' and '-'"));
            }
            check_segments(prefix).map_err(refuse)?;
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        }
        if let Some(rest) = uri.strip_prefix("file://") {
            if !rest.starts_with('/') {
                return Err(refuse("the path must be absolute: file:///path"));
            }
            let path = rest.trim_end_matches('/');
            if path.is_empty() {
                return Err(refuse("the root directory cannot be a store"));
            }
            check_segments(&path[1..]).map_err(refuse)?;
            return Ok(Self::File { path: path.to_owned() });
        }
        Err(Error::Scheme { uri: uri.to_owned() })
    }
}

/// Refuses what would make two spellings of one place, or leave the place that was named.
fn check_segments(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Ok(());
    }
    for segment in path.split('/') {
        if segment.is_empty() {
            return Err("write single slashes");
        }
        if segment == "." || segment == ".." {
            return Err("write it without '.' and '..'");
        }
        if segment.chars().any(|c| c.is_control() || matches!(c, '?' | '#' | '\\')) {
            return Err("write it without '?', '#', '\\' and control characters");
        }
    }
    Ok(())
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File { path } => write!(f, "file://{path}"),
        }
    }
}

/// Where the objects of one job lie: `<store>/<namespace>/<job>/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobPrefix {
    store: Store,
    namespace: String,
    job: String,
}

impl JobPrefix {
    /// The place of a job's objects in a store.
    pub fn new(store: Store, namespace: &str, job: &str) -> Result<Self, Error> {
        for name in [namespace, job] {
            let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if name.is_empty() || !name.bytes().all(ok) {
                return Err(Error::Job { name: name.to_owned() });
            }
        }
        Ok(Self { store, namespace: namespace.to_owned(), job: job.to_owned() })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The job's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The job's name.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// `<namespace>/<job>`: which job it is, wherever its store lies.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.job)
    }

    /// The place below the store's root, with a slash at its end: `<namespace>/<job>/`. What a
    /// store that is opened at its root prepends to a [`Name`].
    pub fn within_store(&self) -> String {
        format!("{}/{}/", self.namespace, self.job)
    }

    /// The full address of an object.
    pub fn uri(&self, name: &Name) -> String {
        format!("{}/{}/{}/{name}", self.store, self.namespace, self.job)
    }

    /// The address by which a user names a snapshot: that of its log entry.
    pub fn snapshot_uri(&self, seq: Seq) -> String {
        self.uri(&Name::Log(seq))
    }

    /// The job and log entry that the address of a snapshot names.
    pub fn parse_snapshot_uri(uri: &str) -> Result<(Self, Seq), Error> {
        let error = || Error::Snapshot { uri: uri.to_owned() };
        let mut parts = uri.rsplitn(5, '/');
        let mut next = || parts.next().ok_or_else(error);
        let (entry, folder, job, namespace, store) = (next()?, next()?, next()?, next()?, next()?);
        let Ok(Name::Log(seq)) = format!("{folder}/{entry}").parse() else {
            return Err(error());
        };
        let store = store.parse().map_err(|_| error())?;
        Ok((Self::new(store, namespace, job).map_err(|_| error())?, seq))
    }
}

impl fmt::Display for JobPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/", self.store, self.namespace, self.job)
    }
}

/// An object of a job, named relative to its [`JobPrefix`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// `log/<20 digits>.json`: an entry of the log.
    Log(Seq),
    /// `parts/<run>/<epoch>/<worker>-<random>`: what one worker uploaded for an epoch.
    Part(PartName),
    /// `committed/<seq>`: every sink has made the output of this manifest visible.
    Committed(Seq),
    /// `hint`: where a search for the last entry of the log may start. Never trusted.
    Hint,
    /// `probe`: empty; whether a store creates it a second time shows if it honours conditions.
    Probe,
}

/// The name of a part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartName {
    /// The run that wrote it.
    pub run: Run,
    /// The epoch it was written for.
    pub epoch: Epoch,
    /// The worker that wrote it.
    pub worker: WorkerIndex,
    /// Lower-case letters and digits, 1 to 32 of them: two uploads never share a name.
    pub random: String,
}

impl Name {
    /// The prefix, relative to the job's, under which a listing finds the log.
    pub const LOG: &'static str = "log/";
    /// The prefix under which a listing finds the marks of committed manifests.
    pub const COMMITTED: &'static str = "committed/";
    /// The prefix under which a listing finds the parts of all runs.
    pub const PARTS: &'static str = "parts/";
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(seq) => write!(f, "log/{:0SEQ_DIGITS$}.json", seq.0),
            Self::Part(part) => {
                let PartName { run, epoch, worker, random } = part;
                write!(f, "parts/{run}/{epoch}/{worker}-{random}")
            }
            Self::Committed(seq) => write!(f, "committed/{seq}"),
            Self::Hint => f.write_str("hint"),
            Self::Probe => f.write_str("probe"),
        }
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        parse(name)
            // Leading zeros, signs and the like would be a second spelling of the same object.
            .filter(|parsed| parsed.to_string() == name)
            .ok_or_else(|| Error::Name { name: name.to_owned() })
    }
}

fn parse(name: &str) -> Option<Name> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        ["hint"] => Some(Name::Hint),
        ["probe"] => Some(Name::Probe),
        ["committed", seq] => Some(Name::Committed(Seq(seq.parse().ok()?))),
        ["log", entry] => Some(Name::Log(Seq(entry.strip_suffix(".json")?.parse().ok()?))),
        ["parts", run, epoch, rest] => {
            let (worker, random) = rest.split_once('-')?;
            let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            if !(1..=32).contains(&random.len()) || !random.bytes().all(ok) {
                return None;
            }
            Some(Name::Part(PartName {
                run: Run(run.parse().ok()?),
                epoch: Epoch(epoch.parse().ok()?),
                worker: WorkerIndex(worker.parse().ok()?),
                random: random.to_owned(),
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_spelled_as_documented() {
        assert_eq!(Name::Log(Seq(7)).to_string(), "log/00000000000000000007.json");
        assert_eq!(Name::Log(Seq(u64::MAX)).to_string(), "log/18446744073709551615.json");
        let part = PartName {
            run: Run(3),
            epoch: Epoch(41),
            worker: WorkerIndex(0),
            random: "a0f".to_owned(),
        };
        assert_eq!(Name::Part(part).to_string(), "parts/3/41/0-a0f");
        assert_eq!(Name::Committed(Seq(12)).to_string(), "committed/12");
        assert_eq!(Name::Hint.to_string(), "hint");
        assert_eq!(Name::Probe.to_string(), "probe");
    }

    proptest! {
        #[test]
        fn names_read_back(
            run: u64, epoch: u64, worker: u32, random in "[a-z0-9]{1,32}", seq: u64,
        ) {
            let (run, epoch, worker) = (Run(run), Epoch(epoch), WorkerIndex(worker));
            let part = Name::Part(PartName { run, epoch, worker, random });
            for name in [part, Name::Log(Seq(seq)), Name::Committed(Seq(seq)), Name::Probe] {
                prop_assert_eq!(name.to_string().parse::<Name>(), Ok(name));
            }
        }
    }

    #[test]
    fn a_second_spelling_is_refused() {
        for bad in [
            "log/7.json",
            "log/00000000000000000007",
            "log/+0000000000000000007.json",
            "committed/007",
            "parts/3/41/0-",
            "parts/3/41/0-A",
            "parts/3/41/0-../../x",
            "parts/03/41/0-a",
            "parts/3/41",
            "/hint",
            "",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn stores_are_checked() {
        let print = |uri: &str| uri.parse::<Store>().map(|store| store.to_string());
        assert_eq!(print("s3://bucket/a/b/").unwrap(), "s3://bucket/a/b");
        assert_eq!(print("s3://bucket").unwrap(), "s3://bucket");
        assert_eq!(print("file:///var/snapshots/").unwrap(), "file:///var/snapshots");
        for bad in [
            "bucket/prefix",
            "gs://bucket",
            "s3://",
            "s3://Bucket",
            "s3://b//x",
            "file://relative/path",
            "file:///",
            "file:///a/../b",
            "s3://b/a?x",
        ] {
            assert!(print(bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn a_snapshot_is_named_by_its_entry() {
        let store: Store = "s3://bucket/team".parse().unwrap();
        let prefix = JobPrefix::new(store, "default", "averages").unwrap();
        let uri = prefix.snapshot_uri(Seq(9));
        assert_eq!(uri, "s3://bucket/team/default/averages/log/00000000000000000009.json");
        assert_eq!(JobPrefix::parse_snapshot_uri(&uri), Ok((prefix, Seq(9))));
        assert!(JobPrefix::parse_snapshot_uri("s3://bucket/team/default/averages/").is_err());
        assert!(JobPrefix::new("s3://b".parse().unwrap(), "a/b", "c").is_err());
    }
}
