//! [`Settings`]: how a client reaches its cluster, and what else it is told.
//!
//! Filled by the builders of the source and the sink, which hand the configuration to librdkafka.
//! Invariant: what Millstream depends on is set by Millstream alone, and no secret is printed.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::error::{Error, Result};
use crate::stream::Secret;

/// The setting that [`Settings::brokers`] fills.
const BROKERS: &str = "bootstrap.servers";
/// Its old name.
const BROKERS_ALIAS: &str = "metadata.broker.list";

/// What a broker's log calls us, unless the program says otherwise.
const CLIENT_ID: &str = "millstream";

/// The ways to log in that librdkafka is built with here.
const SASL_MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// Settings of librdkafka that no program may set, and what to do instead.
const OWNED: [(&str, &str); 4] = [
    ("log_level", "run with MILLSTREAM_LOG=librdkafka=debug"),
    ("log.queue", "Millstream reads librdkafka's log"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "log in by PLAIN or SCRAM"),
    ("sasl.oauthbearer.config", "log in by PLAIN or SCRAM"),
];

/// The value of a setting of librdkafka: text, or a secret.
///
/// ```
/// use millstream_dataflow::Secret;
/// use millstream_dataflow::connector::kafka::Setting;
/// let plain = Setting::from("SCRAM-SHA-512");
/// let secret = Setting::from(Secret::new("swordfish"));
/// assert_eq!(format!("{plain:?} {secret:?}"), "\"SCRAM-SHA-512\" (redacted)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Setting(Value);

#[derive(Clone, PartialEq, Eq)]
enum Value {
    Plain(String),
    Secret(Secret),
}

impl Setting {
    fn reveal(&self) -> Result<&str> {
        match &self.0 {
            Value::Plain(text) => Ok(text),
            Value::Secret(secret) => secret.reveal(),
        }
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self(Value::Plain(text.to_owned()))
    }
}

impl From<String> for Setting {
    fn from(text: String) -> Self {
        Self(Value::Plain(text))
    }
}

impl From<&String> for Setting {
    fn from(text: &String) -> Self {
        Self(Value::Plain(text.clone()))
    }
}

impl From<Secret> for Setting {
    fn from(secret: Secret) -> Self {
        Self(Value::Secret(secret))
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::Plain(text) => text.fmt(f),
            Value::Secret(secret) => secret.fmt(f),
        }
    }
}

/// How a client reaches its cluster, and what else it is told.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<String, Setting>);

impl Settings {
    /// Where the cluster is: `host:port`, several behind commas.
    pub(super) fn brokers(&mut self, brokers: impl Into<Setting>) {
        self.set(BROKERS, brokers);
    }

    /// A setting of librdkafka by its name. Of two with one name, the later one counts.
    pub(super) fn set(&mut self, name: impl Into<String>, value: impl Into<Setting>) {
        self.0.insert(name.into(), value.into());
    }

    /// The same, with a value for a setting that the program does not make.
    pub(super) fn with_default(mut self, name: &str, value: &str) -> Self {
        self.0.entry(name.to_owned()).or_insert_with(|| value.into());
        self
    }

    /// The addresses of the cluster, for messages.
    pub(super) fn shown_brokers(&self) -> String {
        let brokers = self.0.get(BROKERS).or_else(|| self.0.get(BROKERS_ALIAS));
        brokers.map_or_else(String::new, |brokers| match &brokers.0 {
            Value::Plain(text) => text.clone(),
            Value::Secret(secret) => format!("{secret:?}"),
        })
    }

    /// The configuration of a client: what the program says, and over it what the source or the
    /// sink needs (`own`).
    ///
    /// # Errors
    /// Where the program sets something of `own`, of `owned` (a name, and what to do instead), or
    /// of what Millstream sees to for all clients; where a name or a value is none of librdkafka's;
    /// where the brokers are missing.
    pub(super) fn config(
        &self,
        owned: &[(&str, &str)],
        own: &[(&str, &str)],
    ) -> Result<ClientConfig> {
        if self.shown_brokers().is_empty() {
            return Err(Error::invalid("the brokers are missing: say where they are by `brokers`"));
        }
        let mut config = ClientConfig::new();
        config.set("client.id", CLIENT_ID);
        for (name, setting) in &self.0 {
            self.check_owned(name, owned, own)?;
            let value = setting.reveal().map_err(|error| error.context(name))?;
            check_value(name, value, is_secret(name, setting))?;
            config.set(name, value);
        }
        self.check_login()?;
        for (name, value) in own {
            config.set(*name, *value);
        }
        Ok(config)
    }

    fn check_owned(&self, name: &str, owned: &[(&str, &str)], own: &[(&str, &str)]) -> Result<()> {
        let instead = owned.iter().chain(&OWNED).find(|(owned, _)| *owned == name);
        let instead = instead.map(|(_, instead)| *instead);
        let own = own.iter().find(|(own, _)| *own == name);
        match instead.or(own.map(|_| "it is always the same")) {
            Some(instead) => {
                Err(Error::invalid(format!("{name}: Millstream sees to this setting: {instead}")))
            }
            None if name == BROKERS_ALIAS && self.0.contains_key(BROKERS) => {
                Err(Error::invalid(format!("{name} is {BROKERS} by another name: set one of them")))
            }
            None => Ok(()),
        }
    }

    /// Refuses ways to log in that librdkafka is not built with here: it would say so, but not in
    /// words for the reader, or not at all.
    fn check_login(&self) -> Result<()> {
        let text = |name: &str| self.0.get(name).map(Setting::reveal).transpose();
        let protocol = text("security.protocol")?.unwrap_or("plaintext").to_lowercase();
        let (one, other) = (text("sasl.mechanism")?, text("sasl.mechanisms")?);
        if !protocol.starts_with("sasl") {
            return Ok(());
        }
        let mechanism = one.or(other).unwrap_or("not set");
        if SASL_MECHANISMS.contains(&mechanism) {
            return Ok(());
        }
        let known = SASL_MECHANISMS.join(", ");
        Err(Error::invalid(format!("sasl.mechanism: is {mechanism}: set it to one of {known}")))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redacted = Setting(Value::Secret(Secret::new("")));
        let entries = self.0.iter().map(|(name, setting)| match &setting.0 {
            Value::Plain(_) if is_secret(name, setting) => (name, &redacted),
            _ => (name, setting),
        });
        f.debug_map().entries(entries).finish()
    }
}

/// Whether a value must not be printed: one that the program says so of, or whose name does.
fn is_secret(name: &str, setting: &Setting) -> bool {
    let name = name.to_lowercase();
    let tells = ["password", "secret", "key.pem", "jaas", "assertion.private"];
    matches!(setting.0, Value::Secret(_)) || tells.iter().any(|tell| name.contains(tell))
}

/// Tries one setting, so that an error names it and not another.
fn check_value(name: &str, value: &str, secret: bool) -> Result<()> {
    let tried = ClientConfig::from_iter([(name.to_owned(), value.to_owned())]);
    let reason = match tried.create_native_config().err() {
        None => return Ok(()),
        Some(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            "librdkafka has no such setting".to_owned()
        }
        Some(_) if secret => "its value is not valid".to_owned(),
        Some(KafkaError::ClientConfig(_, reason, ..)) => reason,
        Some(error) => error.to_string(),
    };
    Err(Error::invalid(format!("{name}: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Environment;
    use crate::{Job, JobSettings, Kind};

    fn settings(given: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        settings.brokers("127.0.0.1:9092");
        for (name, value) in given {
            settings.set(*name, *value);
        }
        settings
    }

    fn refused(settings: &Settings) -> String {
        let own = [("enable.auto.commit", "false")];
        let error = settings.config(&[("group.id", "use `group`")], &own).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        error.to_string()
    }

    #[test]
    fn what_the_program_says_reaches_the_client_and_ours_stands_over_it() {
        let settings = settings(&[("fetch.min.bytes", "7"), ("client.id", "me")]);
        let config = settings.config(&[], &[("enable.partition.eof", "true")]).unwrap();
        let get = |name| config.get(name).unwrap();
        assert_eq!((get("fetch.min.bytes"), get("client.id")), ("7", "me"));
        assert_eq!(get("enable.partition.eof"), "true");
        assert_eq!(get("bootstrap.servers"), "127.0.0.1:9092");
    }

    #[test]
    fn every_mistake_names_its_setting() {
        let cases = [
            ("group.id", "a", "group.id: Millstream sees to this setting: use `group`"),
            (
                "enable.auto.commit",
                "true",
                "enable.auto.commit: Millstream sees to this setting: it is always the same",
            ),
            (
                "log_level",
                "7",
                "log_level: Millstream sees to this setting: run with \
                 MILLSTREAM_LOG=librdkafka=debug",
            ),
            ("fetch.min.byte", "1", "fetch.min.byte: librdkafka has no such setting"),
            (
                "metadata.broker.list",
                "a:1",
                "metadata.broker.list is bootstrap.servers by another name: set one of them",
            ),
            (
                "security.protocol",
                "sasl_ssl",
                "sasl.mechanism: is not set: set it to one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
            ),
        ];
        for (name, value, expected) in cases {
            assert_eq!(refused(&settings(&[(name, value)])), expected);
        }
        let message = refused(&settings(&[("fetch.min.bytes", "many")]));
        assert!(message.starts_with("fetch.min.bytes: Invalid value"), "{message}");
        let message = refused(&Settings::default());
        assert_eq!(message, "the brokers are missing: say where they are by `brokers`");
    }

    #[test]
    fn no_secret_is_printed() {
        let environment = Environment::new(|_| Some("swordfish".to_owned()));
        let job = Job::new(JobSettings { environment, ..JobSettings::default() });
        let mut settings = settings(&[("sasl.password", "swordfish"), ("acks", "1")]);
        settings.set("ssl.key.pem", job.env("KEY"));
        let shown = format!("{settings:?}");
        assert!(!shown.contains("swordfish"), "{shown}");
        let expected = r#"{"acks": "1", "bootstrap.servers": "127.0.0.1:9092", "#.to_owned()
            + r#""sasl.password": (redacted), "ssl.key.pem": (from KEY)}"#;
        assert_eq!(shown, expected);
        let mut wrong = Settings::default();
        wrong.brokers("a");
        wrong.set("acks", Secret::new("swordfish"));
        assert_eq!(refused(&wrong), "acks: its value is not valid");
    }

    #[test]
    fn a_secret_that_is_missing_is_named() {
        let mut settings = settings(&[]);
        settings.set("sasl.password", Job::new(JobSettings::default()).env("KAFKA_PASSWORD"));
        let expected = "sasl.password: the environment variable KAFKA_PASSWORD is not set";
        assert_eq!(refused(&settings), expected);
    }
}
