//! The quickstart with its snapshots in a bucket: killed, cut off, refused; and what the command
//! line shows of them.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use millstream_testkit::{Credentials, Fault, Proxy, Request, S3};
use tempfile::TempDir;

/// How long anything may take. It takes seconds; a busy machine is given time.
const PATIENCE: Duration = Duration::from_mins(2);

const STATES: [&str; 5] = ["Ohio", "Iowa", "Utah", "Texas", "Maine"];

/// A directory with the quickstart and its data, and a place in a bucket.
struct Place {
    folder: TempDir,
    /// The job's place, as the command line takes it.
    job: String,
    endpoint: String,
    keys: Option<Credentials>,
}

impl Place {
    fn new(name: &str, endpoint: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        fs::copy(root.join("examples/quickstart/job.yaml"), folder.path().join("job.yaml"))
            .unwrap();
        for name in ["data", "tmp"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("data/birdstrikes.csv"), strikes()).unwrap();
        let job = format!("s3://{}/{name}/default/bird-strikes", S3::BUCKET);
        Self { folder, job, endpoint, keys: Some(S3::WRITER) }
    }

    fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    fn store(&self) -> &str {
        self.job.strip_suffix("/default/bird-strikes").unwrap()
    }

    /// The binary, with nothing in its environment but the keys.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream-worker"));
        command.args(args).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.env("HOME", self.folder.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("TMPDIR", self.temporary());
        if let Some(Credentials { key, secret }) = self.keys {
            command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret);
        }
        command
    }

    fn run(&self, rate: &str) -> Command {
        let store = format!("spec.snapshots.store={}", self.store());
        let endpoint = format!("spec.snapshots.endpoint={}", self.endpoint);
        let rate = format!("spec.program.args.recordsPerSecond={rate}");
        let interval = "spec.snapshots.interval=100ms";
        self.command(&[
            "run", "job.yaml", "--set", &store, "--set", &endpoint, "--set", &rate, "--set",
            interval,
        ])
    }

    fn snapshots(&self, args: &[&str]) -> Output {
        let mut command = self.command(&["snapshots"]);
        command.args(args).args(["--endpoint", &self.endpoint]).output().unwrap()
    }

    /// The lines of the sink's visible files, in order.
    fn output(&self, folder: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for file in fs::read_dir(self.folder.path().join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                lines.extend(fs::read_to_string(path).unwrap().lines().map(str::to_owned));
            }
        }
        lines.sort();
        lines
    }

    /// What a run that meets no fault makes of the input, with its snapshots in files.
    fn expected(&self) -> Vec<String> {
        let sets = [
            "spec.program.args.output=expected",
            "spec.program.args.recordsPerSecond=1e9",
            "spec.snapshots.store=file://expected-snapshots",
        ];
        let mut command = self.command(&["run", "job.yaml"]);
        let done = command.args(sets.iter().flat_map(|set| ["--set", set])).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let expected = self.output("expected");
        assert!(expected.len() > 100, "{}", expected.len());
        expected
    }
}

/// Three years of strikes, some of them cheap.
fn strikes() -> String {
    let mut rows = "Flight Date,Origin State,Cost Total $\n".to_owned();
    for i in 0..3000 {
        let (day, state) = (i / 3, STATES[i * 7 % STATES.len()]);
        let (year, month, day) = (1990 + day / 336, day / 28 % 12 + 1, day % 28 + 1);
        writeln!(rows, "{year}-{month:02}-{day:02},{state},{}", i * i % 997).unwrap();
    }
    rows
}

/// A run under way, killed when it is let go.
struct Life(Child);

impl Life {
    fn begin(mut command: Command) -> Self {
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert!(status.code().is_none(), "it had ended before: {status}");
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_append(request: &Request) -> bool {
    request.method == "PUT" && request.target.contains("/log/")
}

/// The nth append meets this fault; says when.
fn fault_append(proxy: &Proxy, nth: u32, fault: Fault) -> Receiver<()> {
    let (say, said) = sync_channel(1);
    let mut appends = 0;
    proxy.rule(move |request| {
        appends += u32::from(is_append(request));
        // Those after it hang, so that what the test looks at does not depend on when it kills.
        match appends {
            _ if appends < nth => Fault::None,
            _ if appends == nth && is_append(request) => {
                let _ = say.try_send(());
                fault
            }
            _ => Fault::Hang,
        }
    });
    said
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_job_that_is_killed_while_it_publishes_goes_on_from_the_bucket() {
    let s3 = S3::shared();
    let proxy = Proxy::to(s3.port());
    let place = Place::new("killed", proxy.endpoint());
    let expected = place.expected();
    // An entry that is not written; one that is, and nobody is told; and one that is whole.
    for (nth, fault) in [(3, Fault::Hang), (3, Fault::Swallow), (4, Fault::None)] {
        let reached = fault_append(&proxy, nth, fault);
        let life = Life::begin(place.run("1000"));
        reached.recv_timeout(PATIENCE).unwrap();
        life.kill();
        let visible = place.output("out");
        assert!(visible.len() < expected.len(), "it was killed half-way");
    }
    proxy.pass();
    let done = place.run("1e9").output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(text(&done.stderr).contains("resumes from snapshot"), "{done:?}");
    assert_eq!(place.output("out"), expected);
}

#[test]
fn a_job_that_starts_beside_its_parts_reads_none_from_the_bucket() {
    let s3 = S3::shared();
    let proxy = Proxy::to(s3.port());
    let place = Place::new("beside", proxy.endpoint());
    let expected = place.expected();
    let part_reads = || {
        let of_part = |it: &&Request| it.method == "GET" && it.target.contains("/parts/");
        proxy.seen().iter().filter(of_part).count()
    };
    let live = || {
        let reached = fault_append(&proxy, 4, Fault::None);
        let life = Life::begin(place.run("1000"));
        reached.recv_timeout(PATIENCE).unwrap();
        life.kill();
        proxy.pass();
    };
    live();
    live();
    assert_eq!(part_reads(), 0, "the second life has read its parts from the disk");
    // Copies that are gone are read from the bucket: so reads are seen where there are some.
    for folder in fs::read_dir(place.temporary()).unwrap() {
        fs::remove_dir_all(folder.unwrap().path()).unwrap();
    }
    live();
    let read = part_reads();
    assert!(read > 0);
    let done = place.run("1e9").output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let told = text(&done.stderr).lines().find(|line| line.contains(" read snapshot "));
    assert!(
        told.is_some_and(|line| line.ends_with("B from the disk, 0 B from the store")),
        "{done:?}"
    );
    assert_eq!(part_reads(), read);
    assert_eq!(place.output("out"), expected);
    let left = fs::read_dir(place.temporary()).unwrap().map(|it| it.unwrap().file_name());
    let copies: Vec<_> =
        left.filter(|it| it.to_string_lossy().starts_with("millstream-parts-")).collect();
    assert_eq!(copies, [""; 0], "a job that has ended leaves none");
}

#[test]
fn a_job_outlives_a_store_that_is_out_of_order() {
    let s3 = S3::shared();
    let proxy = Proxy::to(s3.port());
    let place = Place::new("outage", proxy.endpoint());
    let expected = place.expected();
    // From the third append on: 503 to six requests, then every fourth answer is lost.
    let (mut appends, mut after) = (0, 0);
    proxy.rule(move |request| {
        appends += u32::from(is_append(request));
        after += u32::from(appends >= 3);
        match after {
            1..=6 => Fault::Answer(503),
            _ if after % 4 == 1 => Fault::Swallow,
            _ => Fault::None,
        }
    });
    let done = place.run("1000").output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(!text(&done.stderr).contains("restarts"), "{done:?}");
    let puts = proxy.seen().iter().filter(|it| it.method == "PUT").count();
    assert!(puts > 10, "it has met the outage: {puts}");
    assert_eq!(place.output("out"), expected);
}

#[test]
fn snapshots_in_a_bucket_are_listed_shown_verified_and_deleted() {
    let s3 = S3::shared();
    let place = Place::new("shown", s3.endpoint());
    let done = place.run("1e9").output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let job = place.job.as_str();

    let listed = place.snapshots(&["list", job]);
    assert!(listed.status.success(), "{listed:?}");
    let last = text(&listed.stdout).lines().last().unwrap();
    let uri = last.split_whitespace().last().unwrap();
    assert!(uri.starts_with(&format!("{job}/log/")), "{last}");

    let shown = place.snapshots(&["show", job]);
    assert!(text(&shown.stdout).starts_with(uri), "{shown:?}");
    let verified = place.snapshots(&["verify", uri]);
    assert!(text(&verified.stdout).starts_with(&format!("{uri} is whole: ")), "{verified:?}");

    let manifest = s3.read(uri.strip_prefix("s3://snapshots/").unwrap()).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let part = find_part(&manifest).unwrap();
    let key = format!("{}/{part}", job.strip_prefix("s3://snapshots/").unwrap());
    let mut bytes = s3.read(&key).unwrap();
    bytes[5] ^= 0x55;
    s3.write(&key, &bytes);
    let verified = place.snapshots(&["verify", uri]);
    let message = format!("error: {job}/{part} does not match its checksum in manifest");
    assert!(text(&verified.stderr).starts_with(&message), "{verified:?}");
    s3.remove(&key);
    let verified = place.snapshots(&["verify", uri]);
    assert_eq!(
        text(&verified.stderr),
        format!(
            "error: {job}/{part} is missing: restore from another snapshot, or bring \
                                        the object back from a backup\n"
        )
    );
    assert_eq!(verified.status.code(), Some(1));

    assert_eq!(place.snapshots(&["delete", job]).status.code(), Some(2), "not without --yes");
    let deleted = place.snapshots(&["delete", job, "--yes"]);
    assert!(deleted.status.success(), "{deleted:?}");
    let listed = place.snapshots(&["list", job]);
    assert_eq!(text(&listed.stderr), format!("error: there is no job at {job}/\n"));
}

/// The first object that a manifest names.
fn find_part(value: &serde_json::Value) -> Option<&str> {
    match value {
        serde_json::Value::String(name) => name.starts_with("parts/").then_some(name),
        serde_json::Value::Array(items) => items.iter().find_map(find_part),
        serde_json::Value::Object(fields) => fields.values().find_map(find_part),
        _ => None,
    }
}

#[test]
fn a_bucket_that_refuses_ends_the_run_with_what_to_do() {
    let s3 = S3::shared();
    let mut place = Place::new("refused", s3.endpoint());
    let refused = |place: &Place, message: &str| {
        let done = place.run("1e9").output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        let begin = format!("error: bird-strikes: {message}");
        let last = text(&done.stderr).lines().last().unwrap();
        assert!(last.starts_with(&begin), "{done:?}");
    };
    place.keys = Some(S3::READER);
    let job = place.job.clone();
    refused(&place, &format!("cannot write {job}/probe: access denied: allow s3:GetObject,"));
    place.keys = Some(Credentials { key: "writer", secret: "wrong" });
    refused(&place, &format!("cannot list {job}/committed/: the secret key does not fit"));
    place.keys = None;
    refused(&place, &format!("cannot list {job}/committed/: there are no credentials: set AWS_"));
    place.keys = Some(S3::WRITER);
    place.job = job.replace("s3://snapshots/", "s3://elsewhere/");
    let message = format!("cannot list {}/committed/: {} has no bucket", place.job, s3.endpoint());
    refused(&place, &message);
}
