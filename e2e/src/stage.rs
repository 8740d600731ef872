//! The stage of all stories: a cluster with Kafka, S3, the images and the chart.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::cluster::{Cluster, repository, run};
use crate::image;
use crate::said::Said;
use crate::story::Story;

/// The namespace of the operator.
pub const SYSTEM: &str = "system";
/// The release of the chart that all stories share, and what the chart calls its objects.
pub const RELEASE: &str = "millstream";

/// Where stories are told.
#[derive(Debug)]
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// Where pods, and programs in the sandbox, reach Kafka.
    pub kafka: String,
    /// Where they reach S3; the bucket is `snapshots`.
    pub s3: String,
    /// What jobs have said in all stories so far.
    pub said: Said,
}

impl Stage {
    /// Sets it up; a minute.
    ///
    /// # Errors
    /// Where a part does not come up.
    pub fn set(story: &Story) -> Result<Self> {
        let cluster = Cluster::start()?;
        story.say("the cluster is up");
        let start = |name: &str| Ok(run(cluster.script(name).arg("start"))?.trim().to_owned());
        let (kafka, s3) = std::thread::scope(|scope| {
            let kafka = scope.spawn(|| start("kafka.sh"));
            let s3 = scope.spawn(|| start("s3.sh"));
            for (target, tag) in
                [("worker", image::TAG), ("worker", image::NEXT), ("operator", image::TAG)]
            {
                image::give(&cluster, target, tag)?;
                story.say(&format!("the nodes have {target}:{tag}"));
            }
            let joined = |part: std::thread::ScopedJoinHandle<'_, Result<String>>| {
                part.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a part has panicked")))
            };
            anyhow::Ok((joined(kafka)?, joined(s3)?))
        })?;
        story.say("Kafka and S3 are up");
        let stage = Self { cluster, kafka, s3, said: Said::default() };
        stage.install(RELEASE, SYSTEM, &[])?;
        story.say("the chart is installed");
        Ok(stage)
    }

    /// Installs the chart with these values, or upgrades what is installed, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// Where helm says that it is not in a minute.
    pub fn install(&self, release: &str, namespace: &str, values: &[&str]) -> Result<()> {
        self.install_from("charts/millstream", release, namespace, values)
    }

    /// The same, of the chart in this folder of the repository.
    ///
    /// # Errors
    /// Where helm says that it is not in a minute.
    pub fn install_from(
        &self,
        chart: &str,
        release: &str,
        namespace: &str,
        values: &[&str],
    ) -> Result<()> {
        let mut arguments: Vec<String> =
            ["upgrade", "--install", release, chart, "--create-namespace", "--wait"]
                .map(Into::into)
                .into();
        arguments.extend([format!("--namespace={namespace}"), "--timeout=60s".into()]);
        for (value, target) in [("image", "operator"), ("workerImage", "worker")] {
            arguments.push(format!("--set={value}.repository={}", image::name(target)));
            arguments.push(format!("--set={value}.tag={}", image::TAG));
        }
        arguments.extend(values.iter().map(|it| format!("--set={it}")));
        self.cluster.helm(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(())
    }

    /// A namespace that takes restricted pods alone, with the bucket's keys.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn namespace(&self, name: &str) -> Result<()> {
        self.apply(&format!(
            "apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels: {{pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Secret
metadata: {{name: bucket, namespace: {name}}}
stringData: {{AWS_ACCESS_KEY_ID: writer, AWS_SECRET_ACCESS_KEY: writer-secret}}
"
        ))
    }

    /// `kubectl apply` of these objects.
    ///
    /// # Errors
    /// Where they are not taken.
    pub fn apply(&self, objects: &str) -> Result<()> {
        let mut kubectl = self.cluster.script("kubectl.sh");
        let kubectl = kubectl.args(["apply", "--filename=-"]).stdin(Stdio::piped());
        let mut kubectl = kubectl.stdout(Stdio::null()).spawn()?;
        kubectl.stdin.take().context("it reads nothing")?.write_all(objects.as_bytes())?;
        ensure!(kubectl.wait()?.success(), "kubectl apply failed");
        Ok(())
    }

    /// A `StreamJob` of `examples/kubernetes`, for Kafka, the bucket and the topics of a story.
    ///
    /// # Errors
    /// Where the example cannot be read.
    pub fn example(&self, name: &str, story: &str) -> Result<String> {
        let path = repository().join(format!("examples/kubernetes/{name}.yaml"));
        let mut text = std::fs::read_to_string(path)?;
        for (from, to) in [
            ("brokers: kafka:9092".to_owned(), format!("brokers: {}", self.kafka)),
            (" orders: orders".into(), format!(" orders: orders-{story}")),
            (" turnover: turnover".into(), format!(" turnover: turnover-{story}")),
            ("endpoint: http://minio:9000".into(), format!("endpoint: {}", self.s3)),
            (format!("name: {name}\nspec"), format!("name: {name}\n  namespace: {story}\nspec")),
        ] {
            ensure!(text.matches(&from).count() <= 1, "the example has {from:?} more than once");
            text = text.replace(&from, &to);
        }
        Ok(text)
    }

    /// So many operators are to be there; waits until they are.
    ///
    /// # Errors
    /// Where they are not in a minute.
    pub fn operators(&self, story: &Story, wanted: usize) -> Result<()> {
        let namespace = format!("--namespace={SYSTEM}");
        let deployment = format!("deployment/{RELEASE}");
        let replicas = format!("--replicas={wanted}");
        self.cluster.kubectl(&["scale", &deployment, &namespace, &replicas])?;
        let pods = ["get", "pods", &namespace, "--output=jsonpath={.items[*].status.phase}"];
        story.until(60, &format!("there are {wanted} operators"), || {
            let phases = self.cluster.kubectl(&pods)?;
            let all: Vec<_> = phases.split_whitespace().collect();
            let is_so = all.len() == wanted && all.iter().all(|it| *it == "Running");
            Ok(if is_so { Ok(()) } else { Err(phases.clone()) })
        })?;
        Ok(())
    }

    /// The operator is gone at once, without a word; the Deployment makes another one.
    ///
    /// # Errors
    /// Where it cannot be deleted.
    pub fn kill_operator(&self) -> Result<()> {
        self.cluster.kubectl(&[
            &format!("--namespace={SYSTEM}"),
            "delete",
            "pod",
            "--selector=app.kubernetes.io/name=millstream-operator",
            "--grace-period=0",
            "--force",
        ])?;
        Ok(())
    }
}
