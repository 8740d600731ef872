//! What the API server refuses, and what it says then: rules in CEL, and the bounds beside them.
//!
//! Received from: the field docs in [`millstream_protocol::job`], whose limits these are. Handed
//! to:
//! `schema`, which puts them into the definitions, and to [`super::page`], which lists them.
//! Invariant: what passes here can be read as the types, so that no object of one user hides those
//! of others from a watch. What needs more than one object, or a parser, is left to
//! [`crate::reconcile::validate`].

/// A rule: where it stands, what must hold there, and what to write where it does not.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The field, as in `spec.workers`; empty for the object.
    pub at: &'static str,
    /// What must hold of it, in CEL.
    pub rule: &'static str,
    /// What is wrong where it does not hold, and what to write instead.
    pub message: &'static str,
}

const fn rule(at: &'static str, rule: &'static str, message: &'static str) -> Rule {
    Rule { at, rule, message }
}

/// A bound that a schema has words for.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// A number is at least this.
    Least(u32),
    /// A number is at most this.
    Most(u32),
    /// A text has this many characters at most. It also bounds what the rules on it may cost.
    Longest(u32),
    /// A text is not empty.
    Filled,
    /// A number, or a text.
    IntOrString,
    /// An object that is kept as it is, whatever it holds.
    Opaque,
    /// It must be there, and what is above it has no default.
    Required,
}

/// The longest duration as text: four parts of 5 digits and 2 letters.
const DURATION_LEN: u32 = 28;
/// The longest quantity as text: more digits than any computer has bytes.
const QUANTITY_LEN: u32 = 40;
/// The longest place of a store: that of a key in S3.
const STORE_LEN: u32 = 1024;
/// The longest address of a snapshot: a store, a namespace, a job and the name of an entry.
const URI_LEN: u32 = STORE_LEN + 256;
/// The longest address of an endpoint: what browsers and proxies agree on.
const ENDPOINT_LEN: u32 = 2048;
/// The longest name of an object in Kubernetes.
const NAME_LEN: u32 = 253;

const DURATION: &str = "self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') && \
                        duration(self) <= duration('99999h59m59s999ms')";
const DURATION_MESSAGE: &str =
    "is not a duration: write one to four of <1 to 5 digits>(h|m|s|ms), such as 10s or 1h30m";
const POSITIVE: &str = "self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') && \
                        duration(self) > duration('0s') && \
                        duration(self) <= duration('99999h59m59s999ms')";
const POSITIVE_MESSAGE: &str = "is not a duration of more than zero: write one to four of \
                                <1 to 5 digits>(h|m|s|ms), such as 10s or 1h30m";
const FIXED: &str = "self == oldSelf";

/// What holds of a `StreamJob`.
pub const OF_JOB: &[Rule] = &[
    rule(
        "",
        "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')",
        "metadata.name: write 1 to 52 lower-case letters, digits and '-', a letter first and no \
         '-' last: pods and labels are named after it",
    ),
    rule(
        "spec",
        "self.workers <= self.keyGroups",
        "workers is more than keyGroups: write at most as many workers as there are key groups",
    ),
    rule(
        "spec",
        "!has(self.threadsPerWorker) || self.workers > self.keyGroups || \
         self.workers * self.threadsPerWorker <= self.keyGroups",
        "workers x threadsPerWorker is more than keyGroups: write fewer threads or fewer workers",
    ),
    rule(
        "spec.keyGroups",
        FIXED,
        "is fixed for the life of the job: write the value from before, or make another job",
    ),
    rule(
        "spec.state.memory",
        "isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('16Mi')) && \
         quantity(string(self)).isLessThan(quantity('8Ei'))",
        "is not a quantity of 16Mi or more: write a number of bytes, such as 512Mi or 20Gi",
    ),
    rule(
        "spec.state.localVolume.size",
        "isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0')) && \
         quantity(string(self)).isLessThan(quantity('8Ei'))",
        "is not a quantity of more than zero: write a number of bytes, such as 512Mi or 20Gi",
    ),
    rule(
        "spec.snapshots.store",
        "self.matches('^s3://[-a-z0-9._]+(/.*)?$') || self.matches('^file:///.+$')",
        "is not a store: write s3://bucket/prefix, or file:///path for a directory that all workers \
         share",
    ),
    rule(
        "spec.snapshots.store",
        FIXED,
        "is fixed for the life of the job: write the value from before, or make another job with \
         restore.uri",
    ),
    rule(
        "spec.snapshots.endpoint",
        "self.startsWith('http://') || self.startsWith('https://')",
        "is not an address: write http://host:port or https://host:port",
    ),
    rule("spec.snapshots.interval", POSITIVE, POSITIVE_MESSAGE),
    rule("spec.snapshots.timeout", POSITIVE, POSITIVE_MESSAGE),
    rule(
        "spec.restore",
        "self.from != 'Snapshot' || has(self.snapshotName) != has(self.uri)",
        "from: Snapshot names none, or two: write snapshotName or uri, and not both",
    ),
    rule(
        "spec.restore",
        "self.from == 'Snapshot' || !(has(self.snapshotName) || has(self.uri))",
        "names a snapshot that is not used: write from: Snapshot, or leave it out",
    ),
    rule(
        "spec.restore.uri",
        "self.matches('^(s3|file)://.+/log/[0-9]{20}[.]json$')",
        "is not a snapshot: write <store>/<namespace>/<job>/log/<20 digits>.json, as a status \
         shows it",
    ),
    rule("spec.restore.maxAge", DURATION, DURATION_MESSAGE),
    rule("spec.restart.initialBackoff", POSITIVE, POSITIVE_MESSAGE),
    rule("spec.restart.maxBackoff", POSITIVE, POSITIVE_MESSAGE),
    rule("spec.restart.resetAfter", DURATION, DURATION_MESSAGE),
    rule(
        "spec.restart",
        "[self.initialBackoff, self.maxBackoff].exists(d, \
         !d.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')) || \
         duration(self.initialBackoff) <= duration(self.maxBackoff)",
        "maxBackoff is less than initialBackoff: write at least as much",
    ),
];

/// The bounds of a `StreamJob`.
pub const BOUNDS_OF_JOB: &[(&str, Bound)] = &[
    ("spec.image", Bound::Filled),
    ("spec.program.name", Bound::Filled),
    ("spec.workers", Bound::Least(1)),
    ("spec.workers", Bound::Most(32_768)),
    ("spec.threadsPerWorker", Bound::Least(1)),
    ("spec.threadsPerWorker", Bound::Most(32_768)),
    ("spec.keyGroups", Bound::Least(1)),
    ("spec.keyGroups", Bound::Most(32_768)),
    ("spec.state.memory", Bound::IntOrString),
    ("spec.state.memory", Bound::Longest(QUANTITY_LEN)),
    ("spec.state.localVolume.size", Bound::IntOrString),
    ("spec.state.localVolume.size", Bound::Longest(QUANTITY_LEN)),
    ("spec.snapshots", Bound::Required),
    ("spec.snapshots.store", Bound::Required),
    ("spec.snapshots.store", Bound::Longest(STORE_LEN)),
    ("spec.snapshots.endpoint", Bound::Longest(ENDPOINT_LEN)),
    ("spec.snapshots.interval", Bound::Longest(DURATION_LEN)),
    ("spec.snapshots.timeout", Bound::Longest(DURATION_LEN)),
    ("spec.snapshots.retain", Bound::Least(1)),
    ("spec.snapshots.retain", Bound::Most(i32::MAX as u32)),
    ("spec.restore.snapshotName", Bound::Filled),
    ("spec.restore.snapshotName", Bound::Longest(NAME_LEN)),
    ("spec.restore.uri", Bound::Longest(URI_LEN)),
    ("spec.restore.maxAge", Bound::Longest(DURATION_LEN)),
    ("spec.restart.initialBackoff", Bound::Longest(DURATION_LEN)),
    ("spec.restart.maxBackoff", Bound::Longest(DURATION_LEN)),
    ("spec.restart.resetAfter", Bound::Longest(DURATION_LEN)),
    ("spec.podTemplate", Bound::Opaque),
];

/// What holds of a `StreamSnapshot`.
pub const OF_SNAPSHOT: &[Rule] = &[rule(
    "spec.jobRef",
    FIXED,
    "is fixed for the life of the snapshot: make another StreamSnapshot",
)];

/// The bounds of a `StreamSnapshot`.
pub const BOUNDS_OF_SNAPSHOT: &[(&str, Bound)] = &[
    ("spec.jobRef.name", Bound::Filled),
    ("spec.jobRef.name", Bound::Longest(NAME_LEN)),
    ("status.podTemplate", Bound::Opaque),
];
