//! The bytes of a log entry: `{"version":4,"checksum":"<16 hex digits>","job":..,"slot":..,
//! "entry":..}`.
//!
//! Received from: [`Entry`], and the store. Handed to: the store, and the coordinator as an
//! [`Entry`]. Invariant: no byte of an entry can change unseen, and none can serve in another place
//! than its own: the checksum covers every byte behind it, and those before it have one form only.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Entry, Manifest};
use crate::id::{OperatorId, Seq};
use crate::path::JobPrefix;

/// Version of the form of log entries. A reader refuses newer ones: also a field more is a new
/// version, since a reader refuses fields that it does not know.
pub const FORMAT_VERSION: u32 = 4;

/// The versions before, which are read too. In 3 a claim did not say what its retention keeps, nor
/// a manifest which sinks have pending output; 2 had no [`Began`](super::Began).
const FORMAT_VERSIONS_BEFORE: [u32; 2] = [3, FORMAT_VERSION_UNSEEDED];
/// In which the checksum did not cover the version.
const FORMAT_VERSION_UNSEEDED: u32 = 2;

/// Hexadecimal digits of a checksum.
const CHECKSUM_DIGITS: usize = 16;

/// Why bytes are not a log entry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A newer version wrote them.
    #[error(
        "entry has format version {found}, this program reads {FORMAT_VERSION}: \
         run the version that wrote it, or a newer one"
    )]
    Newer {
        /// The version found.
        found: u32,
    },
    /// An older version wrote them, without a checksum.
    #[error(
        "entry has format version {found}, which had no checksum, this program reads \
         {FORMAT_VERSION}: run the version that wrote it, or delete the job's snapshots and start \
         it anew"
    )]
    Older {
        /// The version found.
        found: u32,
    },
    /// They are not those that were written.
    #[error("entry does not match its checksum: bring the object back from a backup")]
    Damaged,
    /// They were written for another slot, or for another job.
    #[error(
        "entry belongs in slot {slot} of job {job}, and was copied here: bring the right object \
         back from a backup"
    )]
    Elsewhere {
        /// The job it was written for: `<namespace>/<job>`.
        job: String,
        /// The slot it was written for.
        slot: Seq,
    },
    /// There are none.
    #[error(
        "entry is empty (0 bytes), which no program wrote: bring the object back from a backup; \
         without one the job can only be deleted (snapshots delete) and started anew"
    )]
    Empty,
    /// They are no entry at all.
    #[error(
        "entry does not read as one of a job's log: {source}: bring the object back from a backup"
    )]
    Malformed {
        /// Where and why.
        #[from]
        source: serde_json::Error,
    },
    /// A manifest without the state of an operator that has some.
    #[error("manifest names no parts of operator {operator}, which keeps state")]
    Incomplete {
        /// The operator.
        operator: OperatorId,
    },
}

/// What the checksum covers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placed<E> {
    job: String,
    slot: Seq,
    entry: E,
}

impl Entry {
    /// The bytes of the entry in a slot of a job's log. Made once and kept: a repeated attempt must
    /// write the same ones.
    pub fn to_text(&self, job: &JobPrefix, slot: Seq) -> String {
        let placed = Placed { job: job.id(), slot, entry: self };
        let placed = serde_json::to_string(&placed).expect("an entry has string keys only");
        let rest = &placed[1..];
        format!("{}{}\",{rest}", head(FORMAT_VERSION), checksum(FORMAT_VERSION, rest))
    }

    /// Reads an entry back from where it lies.
    ///
    /// # Errors
    /// Where the bytes are not exactly those that [`Entry::to_text`] made for this slot of this
    /// job, and where a manifest lacks the state of an operator.
    pub fn parse(text: &str, job: &JobPrefix, slot: Seq) -> Result<Self, Error> {
        let Placed { job: its_job, slot: its_slot, entry } = placed(text)?;
        if its_job != job.id() || its_slot != slot {
            return Err(Error::Elsewhere { job: its_job, slot: its_slot });
        }
        if let Self::Manifest(manifest) = &entry {
            complete(manifest)?;
        }
        Ok(entry)
    }

    /// Whether these are the bytes of an entry of any job, of this version or another.
    pub fn is_any(text: &str) -> bool {
        matches!(placed(text), Ok(_) | Err(Error::Newer { .. } | Error::Older { .. }))
    }
}

/// What stands before the checksum.
fn head(version: u32) -> String {
    format!(r#"{{"version":{version},"checksum":""#)
}

/// The checksum covers the version too, so that no other one can be read into an entry.
fn checksum(version: u32, rest: &str) -> String {
    let seed = if version == FORMAT_VERSION_UNSEEDED { 0 } else { version.into() };
    format!("{:0CHECKSUM_DIGITS$x}", xxh3_64_with_seed(rest.as_bytes(), seed))
}

fn placed(text: &str) -> Result<Placed<Entry>, Error> {
    let mut ours = std::iter::once(FORMAT_VERSION).chain(FORMAT_VERSIONS_BEFORE);
    let known = ours.find_map(|version| Some((version, text.strip_prefix(&head(version))?)));
    let Some((version, behind)) = known else {
        return Err(other_version(text));
    };
    let parts = behind.split_at_checked(CHECKSUM_DIGITS);
    let rest = parts.and_then(|(sum, rest)| Some((sum, rest.strip_prefix("\",")?)));
    match rest {
        Some((sum, rest)) if sum == checksum(version, rest) => {
            Ok(serde_json::from_str(&format!("{{{rest}"))?)
        }
        Some(_) | None => Err(Error::Damaged),
    }
}

/// Why a text that does not begin as ours is refused.
fn other_version(text: &str) -> Error {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    match serde_json::from_str(text) {
        Err(_) if text.is_empty() => Error::Empty,
        Err(source) => Error::Malformed { source },
        Ok(Head { version: found }) if found > FORMAT_VERSION => Error::Newer { found },
        Ok(Head { version: FORMAT_VERSION }) => Error::Damaged,
        Ok(Head { version }) if FORMAT_VERSIONS_BEFORE.contains(&version) => Error::Damaged,
        Ok(Head { version: found }) => Error::Older { found },
    }
}

/// Refuses a manifest that lacks an operator's state: every task writes a part, an empty one too.
fn complete(manifest: &Manifest) -> Result<(), Error> {
    let stateful = manifest.plan.operators.iter().filter(|operator| !operator.states.is_empty());
    let has_parts = |id| manifest.operator(id).is_some_and(|operator| !operator.parts.is_empty());
    match stateful.map(|operator| &operator.id).find(|id| !has_parts(id)) {
        Some(operator) => Err(Error::Incomplete { operator: operator.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{manifest, prefix};
    use super::*;
    use crate::plan::{PlanOperator, Role, StateSchema};

    fn text() -> String {
        Entry::Manifest(manifest()).to_text(&prefix("counts"), Seq(7))
    }

    fn parse(text: &str) -> Result<Entry, Error> {
        Entry::parse(text, &prefix("counts"), Seq(7))
    }

    /// With a checksum that fits, as a program with a mistake in it would write.
    fn rewritten(from: &str, to: &str) -> String {
        let old = text();
        let rest = &old[head(FORMAT_VERSION).len() + CHECKSUM_DIGITS + 2..];
        assert!(rest.contains(from), "{rest}");
        let rest = rest.replace(from, to);
        format!("{}{}\",{rest}", head(FORMAT_VERSION), checksum(FORMAT_VERSION, &rest))
    }

    #[test]
    fn the_words_in_the_log_are_these() {
        for word in [
            r#"{"version":4,"checksum":""#,
            r#""job":"default/counts","slot":7,"entry":{"#,
            r#""kind":"manifest""#,
            r#""final":true"#,
            r#""keyGroups":720"#,
        ] {
            assert!(text().contains(word), "{word} in {}", text());
        }
    }

    #[test]
    fn no_bit_of_an_entry_changes_unseen() {
        let whole = text();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                // Bytes that are no text are refused where they are read.
                let Ok(text) = String::from_utf8(bytes) else { continue };
                assert!(parse(&text).is_err(), "bit {bit} of byte {at}");
            }
        }
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "cut at {end}");
        }
        assert!(parse(&format!("{whole}\n")).is_err());
        assert!(parse(&whole).is_ok());
    }

    #[test]
    fn an_entry_serves_in_its_own_place_only() {
        let text = text();
        let moved = |job, slot| Entry::parse(&text, &prefix(job), Seq(slot)).unwrap_err();
        for error in [moved("counts", 8), moved("sums", 7)] {
            assert!(error.to_string().contains("slot 7 of job default/counts"), "{error}");
        }
        assert!(Entry::is_any(&text), "an entry all the same");
    }

    #[test]
    fn what_is_no_entry_is_told_from_what_another_version_wrote() {
        assert!(matches!(parse(""), Err(Error::Empty)) && !Entry::is_any(""));
        for bad in ["{", "{}", " ", r#"{"version":"2"}"#] {
            assert!(matches!(parse(bad), Err(Error::Malformed { .. })), "{bad}");
            assert!(!Entry::is_any(bad));
        }
        let newer = r#"{"version":5,"kind":"something"}"#;
        assert!(matches!(parse(newer), Err(Error::Newer { found: 5 })));
        let older = r#"{"kind":"claim","version":1}"#;
        assert!(matches!(parse(older), Err(Error::Older { found: 1 })));
        assert!(Entry::is_any(newer) && Entry::is_any(older));
        let spaced = text().replacen("\":4", "\": 4", 1);
        assert!(matches!(parse(&spaced), Err(Error::Damaged)), "one form only");
    }

    #[test]
    fn the_versions_before_are_read_too() {
        let text = text();
        let rest = &text[head(FORMAT_VERSION).len() + CHECKSUM_DIGITS + 2..];
        for version in FORMAT_VERSIONS_BEFORE {
            let before = format!("{}{}\",{rest}", head(version), checksum(version, rest));
            assert_eq!(parse(&before).unwrap(), parse(&text).unwrap(), "version {version}");
        }
    }

    #[test]
    fn unknown_and_missing_fields_are_refused() {
        for (from, to) in [
            (r#""slot":7"#, r#""slot":7,"more":1"#),
            (r#""final":true"#, r#""final":true,"more":1"#),
            (r#""edges":[]"#, r#""edges":[],"more":1"#),
            (r#""operators":[],"pending"#, r#""operatorz":[],"pending"#),
        ] {
            let error = parse(&rewritten(from, to)).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "{to}: {error}");
        }
    }

    #[test]
    fn a_stateful_operator_without_its_parts_is_refused() {
        let mut manifest = manifest();
        let state =
            StateSchema { name: "state".into(), kind: "value".into(), schema: "u64".into() };
        manifest.plan.operators.push(PlanOperator {
            id: "count".into(),
            method: "scan".into(),
            role: Role::Operator,
            parallelism: 1,
            keyed: true,
            states: vec![state],
            migrations: vec![],
        });
        let text = Entry::Manifest(manifest).to_text(&prefix("counts"), Seq(7));
        let error = parse(&text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "manifest names no parts of operator count, which keeps state"
        );
    }
}
