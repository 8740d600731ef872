//! [`Kafka`]: a broker, alone in its cluster.
//!
//! Receives a test's settings, hands it an address. What a client does with topics and records is
//! the test's; here only so much of the protocol is spoken as shows that the broker is ready.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::gate::Gate;
use crate::part::{Part, folder, free_ports};
use crate::s3::Credentials;
use crate::tools;

/// A broker. Stopped, and its data removed, when it is dropped.
pub struct Kafka {
    part: Part,
    port: u16,
    login: u16,
    tls: u16,
    gate: Option<Gate>,
}

/// What a broker may have besides.
#[derive(Clone, Copy, Default)]
struct Besides {
    gate: bool,
    tls: bool,
}

/// The broker that tests of one process share as long as one of them holds it.
static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());

/// Ports are taken by others now and then between the choice and the start.
const STARTS: u32 = 3;

/// Any name does: each broker is alone in its cluster.
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// For one answer while the broker starts.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Records are kept whatever time they carry: by default those of a year ago would go at once.
const SETTINGS: &str = "process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT,TLS:SASL_SSL,\
  GATED:PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.login.plain.sasl.jaas.config=\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_reader=\"reader-secret\";
listener.name.login.scram-sha-512.sasl.jaas.config=\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.tls.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.tls.scram-sha-512.sasl.jaas.config=\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
auto.create.topics.enable=false
log.retention.ms=-1
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
";

const CERTIFICATE: &str = "broker.pem";
const TLS_SETTINGS: &str = "ssl.keystore.type=PKCS12
ssl.keystore.location=broker.p12
ssl.keystore.password=keystore-secret
";

impl Kafka {
    /// Who may log in.
    pub const READER: Credentials = Credentials { key: "reader", secret: "reader-secret" };

    /// Starts a broker.
    ///
    /// # Panics
    /// Where it is not installed, and where it does not start.
    pub fn start() -> Self {
        Self::with_settings(&[])
    }

    /// Starts a broker with settings of its own, as in `server.properties`.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    pub fn with_settings(settings: &[(&str, &str)]) -> Self {
        Self::start_as(settings, Besides::default())
    }

    /// Starts a broker that is reached over TLS, too, see [`Kafka::tls_address`].
    ///
    /// # Panics
    /// As [`Kafka::start`].
    pub fn with_tls() -> Self {
        Self::start_as(&[], Besides { tls: true, ..Besides::default() })
    }

    /// Starts a broker with settings of its own that is reached through a [`Gate`], too.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    pub fn gated(settings: &[(&str, &str)]) -> Self {
        Self::start_as(settings, Besides { gate: true, ..Besides::default() })
    }

    fn start_as(settings: &[(&str, &str)], besides: Besides) -> Self {
        let mut error = String::new();
        for _ in 0..STARTS {
            match Self::try_start(settings, besides) {
                Ok(started) => return started,
                Err(why) => error = why,
            }
        }
        panic!("{error}");
    }

    /// The broker that the tests of this process share: as tests run beside each other, each takes
    /// topics and groups of its own.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    fn try_start(settings: &[(&str, &str)], besides: Besides) -> Result<Self, String> {
        let [port, login, controller, behind, tls] = free_ports();
        let gate = besides.gate.then(|| Gate::to(behind));
        // Clients find the broker where it says that it is.
        let (listens, says) = match &gate {
            Some(gate) => {
                (format!("GATED://127.0.0.1:{behind},"), format!("GATED://{},", gate.address()))
            }
            None => (String::new(), String::new()),
        };
        let folder = folder("kafka");
        let mut own = format!("PLAINTEXT://127.0.0.1:{port},LOGIN://127.0.0.1:{login}");
        if besides.tls {
            let _ = write!(own, ",TLS://127.0.0.1:{tls}");
        }
        let mut properties = format!(
            "{SETTINGS}listeners={listens}{own},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners={says}{own}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             log.dirs={}\n",
            folder.path().join("data").display()
        );
        if besides.tls {
            certify(folder.path());
            properties += TLS_SETTINGS;
        }
        for (name, value) in settings {
            let _ = writeln!(properties, "{name}={value}");
        }
        fs::write(folder.path().join("server.properties"), properties).unwrap();
        let mut format = java("kafka.tools.StorageTool", folder.path());
        format.args(["format", "-t", CLUSTER, "-c", "server.properties", "--add-scram"]);
        let Credentials { key, secret } = Self::READER;
        format.arg(format!("SCRAM-SHA-512=[name={key},password={secret}]"));
        let formatted = format.output().unwrap();
        assert!(formatted.status.success(), "{formatted:?}");
        let command = broker(folder.path());
        let mut started =
            Self { part: Part::start("Kafka", folder, command, &[]), port, login, tls, gate };
        started.wait()?;
        Ok(started)
    }

    /// Where clients find it: `bootstrap.servers`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where clients find it that log in as [`Kafka::READER`], by PLAIN or SCRAM-SHA-512.
    pub fn login_address(&self) -> String {
        format!("127.0.0.1:{}", self.login)
    }

    /// Where clients find it over TLS that log in as [`Kafka::READER`] by SCRAM-SHA-512, of a
    /// broker that was started [`Kafka::with_tls`].
    pub fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.tls)
    }

    /// The certificate that vouches for it there, in a file.
    pub fn certificate(&self) -> PathBuf {
        self.part.folder().join(CERTIFICATE)
    }

    /// The gate of a broker that has one. Its address is that for clients to be held there.
    ///
    /// # Panics
    /// Where the broker was started without.
    pub fn gate(&self) -> &Gate {
        self.gate.as_ref().expect("the broker is gated")
    }

    /// Kills it, as `kill -9` does. What it had on disk stays.
    pub fn kill(&mut self) {
        self.part.kill();
    }

    /// Starts it again after [`Kafka::kill`], at the same address with the same data.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart(&mut self) {
        let command = broker(self.part.folder());
        self.part.restart(command);
        self.wait().unwrap();
    }

    /// Ready is a broker whose coordinators of groups and of transactions answer: they load for a
    /// while after it listens.
    fn wait(&mut self) -> Result<(), String> {
        let port = self.port;
        let ready = move || groups_ready(port).unwrap_or(false);
        self.part.wait_until(ready)?;
        self.part.wait_until(move || transactions_ready(port).unwrap_or(false))
    }
}

/// Makes a key, and a certificate of it that nobody else vouches for.
fn certify(folder: &Path) {
    let keytool = |args: &[&str]| {
        let mut command = Command::new("keytool");
        command.args(args).args(["-alias", "broker", "-keystore", "broker.p12"]);
        command.args(["-storepass", "keystore-secret", "-storetype", "PKCS12"]);
        let done = command.current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let names = "san=ip:127.0.0.1,dns:localhost";
    keytool(&[
        "-genkeypair",
        "-keyalg",
        "EC",
        "-dname",
        "CN=localhost",
        "-ext",
        names,
        "-validity",
        "2",
    ]);
    keytool(&["-exportcert", "-rfc", "-file", CERTIFICATE]);
}

fn broker(folder: &Path) -> Command {
    let mut command = java("kafka.Kafka", folder);
    command.arg("server.properties");
    command
}

/// A class of Kafka's, with little memory and a quick start.
fn java(class: &str, folder: &Path) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
    command.arg(tools::path("kafka", "libs").join("*")).arg(class).current_dir(folder);
    command
}

const FIND_COORDINATOR: i16 = 10;
const OFFSET_FETCH: i16 = 9;
const INIT_PRODUCER_ID: i16 = 22;

/// Names nothing that a test uses.
const PROBE: &str = "testkit-probe";

fn groups_ready(port: u16) -> io::Result<bool> {
    find_coordinator(port, 0)?;
    // Version 2: the group, no topics; the error comes behind the topics, of which there are none.
    let answer = ask(port, OFFSET_FETCH, 2, &[&text(PROBE)[..], &0_i32.to_be_bytes()].concat())?;
    Ok(answer.len() >= 6 && answer[4..6] == [0, 0])
}

fn transactions_ready(port: u16) -> io::Result<bool> {
    find_coordinator(port, 1)?;
    // Version 1: transactional id and time-out; a throttle time, then the error.
    let body = [&text(PROBE)[..], &60_000_i32.to_be_bytes()].concat();
    let answer = ask(port, INIT_PRODUCER_ID, 1, &body)?;
    Ok(answer.len() >= 6 && answer[4..6] == [0, 0])
}

/// Makes the broker set up the topic that the coordinator keeps its state in.
fn find_coordinator(port: u16, kind: i8) -> io::Result<()> {
    let body = [&text(PROBE)[..], &kind.to_be_bytes()].concat();
    ask(port, FIND_COORDINATOR, 1, &body).map(|_| ())
}

/// A string of Kafka's protocol.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// One request over a connection of its own; its answer behind the header.
fn ask(port: u16, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut broker = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    broker.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let correlation = 1_i32.to_be_bytes();
    let header = [&api.to_be_bytes()[..], &version.to_be_bytes(), &correlation, &text("testkit")];
    let request = [&header.concat(), body].concat();
    broker.write_all(&(request.len() as i32).to_be_bytes())?;
    broker.write_all(&request)?;
    let mut size = [0; 4];
    broker.read_exact(&mut size)?;
    let mut answer = vec![0; u32::from_be_bytes(size).min(1 << 20) as usize];
    broker.read_exact(&mut answer)?;
    if answer.len() < correlation.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(answer.split_off(correlation.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_comes_back_with_its_data_and_leaves_nothing_behind() {
        let mut kafka = Kafka::with_settings(&[("num.partitions", "3")]);
        let (folder, port) = (kafka.part.folder().to_owned(), kafka.port);
        let made = |name: &str| folder.join("data").join(name).exists();
        assert!(made("__transaction_state-0") && made("__consumer_offsets-0"));
        kafka.kill();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        kafka.restart();
        assert!(made("__transaction_state-0"));
        assert_eq!(kafka.address(), format!("127.0.0.1:{port}"));
        drop(kafka);
        assert!(!folder.exists());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}
