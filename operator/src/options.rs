//! What the operator is told when it is started: the chart writes it from its values.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::reconcile::operator::Operator;

/// Looks after the `StreamJobs` of a Kubernetes cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "millstream-operator", version)]
pub struct Options {
    /// Where to answer /livez and /readyz.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:9100")]
    pub health: SocketAddr,
    /// The Lease, in the operator's namespace, by which one of several operators works and the
    /// others wait. Default: none; then there must be no other operator.
    #[arg(long, value_name = "NAME")]
    pub lease: Option<String>,
    /// How to log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// The labels of the operator's pods, which may reach those of jobs: NAME=VALUE,..
    #[arg(long, value_name = "LABELS", value_delimiter = ',', value_parser = label)]
    pub pod_labels: Vec<(String, String)>,
    /// The image of jobs that name none.
    #[arg(long, value_name = "IMAGE")]
    pub worker_image: Option<String>,
    /// The group that owns the volumes of workers, where their job names none.
    #[arg(long, value_name = "GROUP")]
    pub worker_fs_group: Option<i64>,
    /// The namespaces whose jobs are looked after. Default: all.
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// The namespace that the operator runs in.
    #[arg(long, env = "MILLSTREAM_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: String,
    /// The operator's pod.
    #[arg(long, env = "MILLSTREAM_POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object per line.
    Json,
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("{text:?} is no label: write NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Options {
    /// What the objects of jobs depend on.
    pub fn operator(&self) -> Operator {
        Operator {
            namespace: self.namespace.clone(),
            pod_labels: self.pod_labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            worker_image: self.worker_image.clone(),
            fs_group: self.worker_fs_group,
        }
    }
}

impl LogFormat {
    /// Starts the log, on standard error, as `RUST_LOG` filters it.
    pub fn init(self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        // A second start in one process, as tests do, keeps the first one's log.
        let _ = match self {
            Self::Json => log.json().flatten_event(true).try_init(),
            Self::Text => log.with_ansi(false).compact().try_init(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_the_chart_are_taken() {
        let args = [
            "operator",
            "--health=0.0.0.0:9100",
            "--lease=ms",
            "--log-format=json",
            "--pod-labels=app.kubernetes.io/name=millstream-operator,a=b",
            "--worker-image=w:1",
            "--worker-fs-group=65532",
            "--watch-namespaces=one,two",
            "--namespace=system",
        ];
        let options = Options::try_parse_from(args).unwrap();
        assert_eq!(options.watch_namespaces, ["one", "two"]);
        let operator = options.operator();
        assert_eq!(operator.pod_labels.len(), 2);
        assert_eq!(operator.pod_labels["app.kubernetes.io/name"], "millstream-operator");
        assert_eq!(operator.fs_group, Some(65532));
        assert!(Options::try_parse_from(["operator", "--namespace=s", "--pod-labels=x"]).is_err());
    }
}
