//! Why pods of a job are not made: what admission says of them.
//!
//! Received from: the events of the job's `StatefulSet`, the one place where the API server tells
//! that it refuses its pods. Handed to: [`super::status`]. Invariant: a refusal that a pod came
//! after is not told.

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ListParams};

use super::pods::Trouble;
use crate::crd::condition;

/// The reason of the event that a pod could not be made, and
const FAILED: &str = "FailedCreate";
/// of the one that it was.
const MADE: &str = "SuccessfulCreate";

/// Why the pods of the object of this kind and UID are not made, if they are refused.
pub(super) async fn refusal(
    client: &Client,
    namespace: &str,
    (kind, uid): (&str, &str),
) -> Result<Option<Trouble>, kube::Error> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let about = format!("regarding.kind={kind},regarding.uid={uid}");
    let events = events.list(&ListParams::default().fields(&about)).await?;
    Ok(last(&events.items))
}

/// What the newest of these says. In the same second one pod may be made, and the next one refused.
fn last(events: &[Event]) -> Option<Trouble> {
    let (_, is_failure, event) = events
        .iter()
        .filter_map(|event| match event.reason.as_deref()? {
            FAILED => Some((second(event), true, event)),
            MADE => Some((second(event), false, event)),
            _ => None,
        })
        .max_by_key(|(at, is_failure, _)| (*at, *is_failure))?;
    if is_failure { trouble(event.note.as_deref()?) } else { None }
}

/// When it was seen last. Those who fold events by themselves have the time in an older field.
fn second(event: &Event) -> Option<i64> {
    let folded = event.series.as_ref().map(|it| it.last_observed_time.0);
    let older = || event.deprecated_last_timestamp.as_ref().map(|it| it.0);
    let once = || event.event_time.as_ref().map(|it| it.0);
    folded.or_else(older).or_else(once).map(Timestamp::as_second)
}

/// A note is `create Pod NAME in StatefulSet NAME failed error: WHY`, or, of a batch `Job`, `Error
/// creating: WHY`. What is no refusal passes.
fn trouble(note: &str) -> Option<Trouble> {
    let (pod, why) = if let Some(why) = note.strip_prefix("Error creating: ") {
        ("its pod", why)
    } else {
        let (pod, rest) = note.split_once("create Pod ")?.1.split_once(' ')?;
        (pod, rest.split_once("failed error: ")?.1)
    };
    let reason = if why.contains(" is invalid: ") {
        condition::CONFIG_ERROR
    } else if why.contains(" is forbidden: ") || why.contains(" denied the request") {
        condition::PODS_FORBIDDEN
    } else {
        return None;
    };
    Some(Trouble::new(reason, pod, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::yaml;

    const QUOTA: &str = "pods \"averages-1\" is forbidden: exceeded quota: none, requested: pods=1";

    fn event(reason: &str, at: &str, why: &str) -> Event {
        let note = match reason {
            FAILED => format!("create Pod averages-1 in StatefulSet averages failed error: {why}"),
            _ => "create Pod averages-0 in StatefulSet averages successful".to_owned(),
        };
        yaml(&format!(
            "{{metadata: {{name: e}}, reason: {reason}, note: '{note}', eventTime: null, \
             deprecatedLastTimestamp: '2026-11-26T12:00:{at}Z'}}"
        ))
    }

    #[test]
    fn a_refusal_is_told_with_its_pod_until_a_pod_is_made() {
        let refused = event(FAILED, "05", QUOTA);
        let told = last(&[event(MADE, "05", ""), refused.clone()]).unwrap();
        assert_eq!(told.reason, condition::PODS_FORBIDDEN);
        assert!(told.message.starts_with(&format!("averages-1: {QUOTA}; ")), "{}", told.message);
        assert_eq!(last(&[refused.clone(), event(MADE, "06", "")]), None);
        let other = event("SuccessfulDelete", "09", "");
        assert!(last(&[other.clone(), refused]).is_some());
        assert_eq!(last(&[other]), None);
        assert_eq!(last(&[]), None);
    }

    #[test]
    fn what_is_seen_again_has_the_time_of_the_last() {
        let mut refused = event(FAILED, "05", QUOTA);
        let made = event(MADE, "06", "");
        assert_eq!(last(&[refused.clone(), made.clone()]), None);
        refused.series = Some(yaml("{count: 2, lastObservedTime: '2026-11-26T12:00:07.5Z'}"));
        assert!(last(&[refused, made]).is_some());
    }

    #[test]
    fn a_batch_job_is_refused_in_other_words() {
        let mut refused = event(FAILED, "05", "");
        refused.note = Some(format!("Error creating: {QUOTA}"));
        let told = last(&[refused]).unwrap();
        assert_eq!(told.reason, condition::PODS_FORBIDDEN);
        assert!(told.message.starts_with("its pod: pods "), "{}", told.message);
    }

    #[test]
    fn a_refusal_is_told_from_what_will_pass() {
        let reason = |why| last(&[event(FAILED, "05", why)]).map(|it| it.reason);
        let webhook = "admission webhook \"a.b\" denied the request: no";
        assert_eq!(reason(webhook), Some(condition::PODS_FORBIDDEN));
        assert_eq!(reason("Pod \"averages-1\" is invalid: no"), Some(condition::CONFIG_ERROR));
        assert_eq!(reason("etcdserver: request timed out"), None);
    }
}
