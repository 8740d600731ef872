//! [`S3`]: `SeaweedFS` as an S3 endpoint.
//!
//! Receives nothing; hands tests a bucket, and keys that may do all, only read, or nothing. What a
//! test wants to do behind the store's back goes through the filer, which asks for no signature.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::part::{Part, folder, free_ports};
use crate::tools;

/// Set where the keys are.
const HAS_KEYS: &str = "MILLSTREAM_TEST_HAS_KEYS";

/// An access key and its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The access key.
    pub key: &'static str,
    /// Its secret.
    pub secret: &'static str,
}

/// An S3 endpoint with one bucket. Stopped, and its data removed, when it is dropped.
pub struct S3 {
    part: Part,
    port: u16,
    filer: u16,
    #[cfg(test)]
    sockets: Vec<PathBuf>,
}

/// The endpoint that tests of one process share as long as one of them holds it.
static SHARED: Mutex<Weak<S3>> = Mutex::new(Weak::new());

/// Ports are taken by others now and then between the choice and the start.
const STARTS: u32 = 3;

/// What is given a port.
const FLAGS: [&str; 10] = [
    "s3.port",
    "filer.port",
    "master.port",
    "volume.port",
    "admin.port",
    "s3.port.grpc",
    "filer.port.grpc",
    "master.port.grpc",
    "volume.port.grpc",
    "admin.port.grpc",
];

/// For one answer of the filer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

impl S3 {
    /// The bucket.
    pub const BUCKET: &'static str = "snapshots";

    /// May do everything.
    pub const WRITER: Credentials = Credentials { key: "writer", secret: "writer-secret" };

    /// May read and list, and not write.
    pub const READER: Credentials = Credentials { key: "reader", secret: "reader-secret" };

    /// Starts an endpoint.
    ///
    /// # Panics
    /// Where it is not installed, and where it does not start.
    pub fn start() -> Self {
        let mut error = String::new();
        for _ in 0..STARTS {
            match Self::try_start() {
                Ok(started) => return started,
                Err(why) => error = why,
            }
        }
        panic!("{error}");
    }

    /// The endpoint that the tests of this process share: as tests run beside each other, each
    /// takes a prefix of its own.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// Runs this test program again with the keys of [`S3::WRITER`] in its environment, and says
    /// how that ended; none in the program that has them. For the start of `main`: an environment
    /// is not to be changed where there may be threads.
    ///
    /// # Panics
    /// Where it cannot be run.
    pub fn again_with_keys() -> Option<ExitCode> {
        if env::var_os(HAS_KEYS).is_some() {
            return None;
        }
        let mut again = Command::new(env::current_exe().unwrap());
        again.args(env::args_os().skip(1)).env(HAS_KEYS, "1");
        again.env("AWS_ACCESS_KEY_ID", Self::WRITER.key);
        again.env("AWS_SECRET_ACCESS_KEY", Self::WRITER.secret);
        again.env("AWS_EC2_METADATA_DISABLED", "true");
        let passed = again.status().unwrap().success();
        Some(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn try_start() -> Result<Self, String> {
        let ports: [u16; FLAGS.len()] = free_ports();
        let [port, filer, ..] = ports;
        let folder = folder("s3");
        let identities = folder.path().join("identities.json");
        fs::write(&identities, identities_json()).unwrap();
        let mut command = Command::new(tools::path("seaweedfs", "weed"));
        command.arg("mini").arg(format!("-dir={}", folder.path().display()));
        command.arg(format!("-s3.config={}", identities.display()));
        for socket in ["filer", "s3"] {
            let path = folder.path().join(format!("{socket}.sock"));
            command.arg(format!("-{socket}.localSocket={}", path.display()));
        }
        for (flag, port) in FLAGS.into_iter().zip(ports) {
            command.arg(format!("-{flag}={port}"));
        }
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false"]);
        command.args(["-s3.iam=false", "-s3.autoCreateBucket=false"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.args(["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=64"]);
        // It looks there for settings.
        command.env("HOME", folder.path());
        let sockets = sockets(&ports);
        let part = Part::start("SeaweedFS", folder, command, &sockets);
        let mut started = Self {
            part,
            port,
            filer,
            #[cfg(test)]
            sockets,
        };
        started.wait()?;
        Ok(started)
    }

    /// Ready is whoever has taken an object.
    fn wait(&mut self) -> Result<(), String> {
        let (port, filer) = (self.port, self.filer);
        let bucket = format!("/buckets/{}/", Self::BUCKET);
        self.part.wait_until(|| ask(filer, "POST", &bucket, b"").is_some_and(|it| it.0 == 201))?;
        let ready = format!("{bucket}ready");
        self.part.wait_until(|| ask(filer, "PUT", &ready, b"x").is_some_and(|it| it.0 == 201))?;
        self.part.wait_until(|| ask(filer, "DELETE", &ready, b"").is_some_and(|it| it.0 == 204))?;
        self.part.wait_until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    }

    /// The address of the endpoint, as `spec.snapshots.endpoint` has it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// An object's bytes, past the store; none where there is no such object.
    pub fn read(&self, key: &str) -> Option<Vec<u8>> {
        let (status, body) = self.ask("GET", key, b"");
        (status == 200).then_some(body)
    }

    /// The keys of all objects whose keys begin with a folder's, past the store, in order.
    pub fn keys(&self, folder: &str) -> Vec<String> {
        let (mut folders, mut keys) = (vec![folder.trim_end_matches('/').to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            let listed = self.ask("GET", &format!("{folder}/?limit=100000"), b"").1;
            // No answer in JSON is that there is no such folder.
            let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap_or_default();
            for entry in listed["Entries"].as_array().into_iter().flatten() {
                let path = entry["FullPath"].as_str().expect("an entry has a path");
                let key = path.strip_prefix(&format!("/buckets/{}/", Self::BUCKET)).unwrap();
                // As Go has it, a mode's highest bit says that it is a folder.
                let is_folder = entry["Mode"].as_u64().is_some_and(|mode| mode >> 31 & 1 == 1);
                if is_folder { &mut folders } else { &mut keys }.push(key.to_owned());
            }
        }
        keys.sort_unstable();
        keys
    }

    /// Puts an object there, past the store.
    pub fn write(&self, key: &str, bytes: &[u8]) {
        assert_eq!(self.ask("PUT", key, bytes).0, 201, "{key}");
    }

    /// Takes an object away, past the store.
    pub fn remove(&self, key: &str) {
        assert_eq!(self.ask("DELETE", key, b"").0, 204, "{key}");
    }

    fn ask(&self, method: &str, key: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let path = format!("/buckets/{}/{key}", Self::BUCKET);
        ask(self.filer, method, &path, body).expect("the filer answers")
    }
}

/// The sockets that `SeaweedFS` spells itself, and leaves when it is killed.
fn sockets(ports: &[u16; FLAGS.len()]) -> Vec<PathBuf> {
    let flags = FLAGS.into_iter().zip(ports);
    let roles = flags.filter_map(|(flag, port)| Some((flag.strip_suffix(".port.grpc")?, port)));
    let path = |(role, port)| PathBuf::from(format!("/tmp/seaweedfs-{role}-grpc-{port}.sock"));
    roles.map(path).collect()
}

/// The keys that the endpoint knows.
fn identities_json() -> String {
    let identity = |who: Credentials, actions: &str| {
        let Credentials { key, secret } = who;
        format!(
            r#"{{"name":"{key}","actions":[{actions}],"credentials":[{{"accessKey":"{key}",
                "secretKey":"{secret}"}}]}}"#
        )
    };
    let writer = identity(S3::WRITER, r#""Admin","Read","Write","List""#);
    let reader = identity(S3::READER, r#""Read","List""#);
    format!(r#"{{"identities":[{writer},{reader}]}}"#)
}

/// One request to a server on loopback: status and body, or none where nobody answers.
fn ask(port: u16, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    server.set_read_timeout(Some(ANSWER_TIMEOUT)).ok()?;
    let head = format!("Accept: application/json\r\nContent-Length: {}", body.len());
    // HTTP/1.0: the answer ends with the connection, and is in one piece.
    write!(server, "{method} {path} HTTP/1.0\r\n{head}\r\n\r\n").ok()?;
    server.write_all(body).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_off(end + 4)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;

    use super::*;

    #[test]
    fn an_endpoint_leaves_nothing_behind() {
        let mut s3 = S3::start();
        s3.write("a/b", b"bytes");
        assert_eq!(s3.read("a/b").unwrap(), b"bytes");
        s3.write("a/c/d", b"more");
        assert_eq!(s3.keys("a"), ["a/b", "a/c/d"]);
        assert_eq!(s3.keys("elsewhere"), [""; 0]);
        s3.remove("a/b");
        assert_eq!(s3.read("a/b"), None);
        let (folder, port, sockets) = (s3.part.folder().to_owned(), s3.port, s3.sockets.clone());
        assert!(folder.exists());
        // The last of them are there a moment after the endpoint is ready.
        s3.part.wait_until(|| sockets.iter().all(|socket| socket.exists())).unwrap();
        drop(s3);
        assert!(!folder.exists() && !sockets.iter().any(|socket| socket.exists()));
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }

    /// Set for the process that the test below starts.
    const ROLE: &str = "MILLSTREAM_TEST_ROLE";

    /// Not a test of its own: the body of a process that is killed while an endpoint runs.
    #[test]
    fn killed() {
        if env::var_os(ROLE).is_some() {
            let s3 = S3::start();
            fs::write(env::var_os(ROLE).unwrap(), s3.part.folder().to_str().unwrap()).unwrap();
            std::process::abort();
        }
    }

    #[test]
    fn an_endpoint_of_a_process_that_is_killed_leaves_nothing_behind() {
        let said = tempfile::NamedTempFile::new().unwrap();
        let mut test = Command::new(env::current_exe().unwrap());
        test.args(["--exact", "s3::tests::killed"]).env(ROLE, said.path());
        assert!(!test.output().unwrap().status.success());
        let folder = fs::read_to_string(said.path()).unwrap();
        assert!(folder.contains("millstream-s3-"), "{folder}");
        for _ in 0..500 {
            if !Path::new(&folder).exists() {
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "nobody else is left to ring")]
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{folder} is still there");
    }
}
