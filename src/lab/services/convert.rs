//! Leases and exporters as the protocol has them.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use prost_types::{Duration as ProtoDuration, Timestamp};

use crate::{
    lab::{
        leases::{End, Exporter, LATEST, Lease, Leases, Phase, Terms, Time, Times},
        names,
        refusal::Refusal,
        selector::{Operator, Requirement, Selector},
    },
    protocol::{client::v1 as client, v1},
};

/// Describes an exporter for a client.
pub(super) fn exporter(name: &str, exporter: &Exporter) -> client::Exporter {
    // One that is gone is offline, whatever it said last.
    let online = Some(exporter.status).filter(|_| exporter.online());
    let shown = online.unwrap_or(v1::ExporterStatus::Offline);
    #[allow(deprecated)] // stock clients show it
    client::Exporter {
        name: names::resource("exporters", name),
        labels: exporter.labels.clone(),
        online: exporter.online(),
        status: shown.into(),
        status_message: exporter.message.clone(),
        enabled: Some(exporter.enabled),
        deprecated_labels: BTreeMap::new(),
    }
}

/// Describes a lease for a client.
pub(super) fn lease(lease: &Lease, leases: &Leases, now: Time) -> client::Lease {
    let terms = &lease.terms;
    let (begun, ended) = lease.ran();
    client::Lease {
        name: names::resource("leases", &lease.name),
        selector: terms.selector.text().to_owned(),
        duration: Some(duration(terms.duration)),
        effective_duration: begun.map(|begun| duration(ended.unwrap_or(now).saturating_sub(begun))),
        begin_time: terms.begin.map(timestamp),
        effective_begin_time: begun.map(timestamp),
        end_time: terms.end.map(timestamp),
        effective_end_time: ended.map(timestamp),
        client: Some(names::resource("clients", &lease.client)),
        exporter: lease.held().map(|name| names::resource("exporters", name)),
        conditions: conditions(lease, leases, now),
        exporter_name: terms.exporter.clone(),
        tags: terms.tags.clone(),
        allow_disabled: terms.allow_disabled,
        context: terms.context.clone(),
        deprecated_labels: BTreeMap::new(),
    }
}

/// Says what has become of a lease, in the conditions that stock clients look for, the most recent last.
///
/// A client that waits for a lease ends when it is Ready, Unsatisfiable, Invalid, or not Ready since it was Released.
/// One that ran out of time is said to be Invalid, too, or clients that use it by name would wait for hours.
pub(super) fn conditions(lease: &Lease, leases: &Leases, now: Time) -> Vec<v1::Condition> {
    let condition = |kind: &str, status: bool, reason: &str, message: String| v1::Condition {
        r#type: Some(kind.to_owned()),
        status: Some(if status { "True" } else { "False" }.to_owned()),
        observed_generation: Some(1),
        last_transition_time: Some(v1::Time {
            seconds: Some(lease.changed.as_secs().cast_signed()),
            nanos: Some(lease.changed.subsec_nanos().cast_signed()),
        }),
        reason: Some(reason.to_owned()),
        message: Some(message),
    };
    match &lease.phase {
        Phase::Waiting => {
            let (reason, message) = leases.why_waiting(lease, now);
            vec![condition("Pending", true, reason, message)]
        }
        Phase::Held { .. } => {
            let message = "An exporter has been acquired for the client".to_owned();
            vec![condition("Ready", true, "Ready", message)]
        }
        Phase::Ended { why, .. } => match why {
            End::Released => {
                let message = "The lease was marked for release".to_owned();
                vec![condition("Ready", false, "Released", message)]
            }
            End::Expired => {
                let message = || "The lease has expired".to_owned();
                vec![
                    condition("Invalid", true, "Expired", message()),
                    condition("Ready", false, "Expired", message()),
                ]
            }
            End::Unsatisfiable { reason, message } => {
                vec![condition("Unsatisfiable", true, reason, message.clone())]
            }
        },
    }
}

/// Reads what a client asks for.
pub(super) fn terms(lease: client::Lease) -> Result<Terms, Refusal> {
    let selector = Selector::parse(&lease.selector).map_err(Refusal::Terms)?;
    let numeric = selector
        .requirements()
        .iter()
        .any(|requirement| matches!(requirement.operator, Operator::Greater | Operator::Less));
    if numeric {
        return Err(Refusal::Terms(format!(
            "selector {:?}: leases are not selected by < or >",
            lease.selector
        )));
    }
    let times = times(&lease)?;
    let (duration, begin, end) = times.settle().map_err(Refusal::Terms)?;
    Ok(Terms {
        selector,
        exporter: lease.exporter_name.filter(|name| !name.is_empty()),
        duration,
        begin,
        end,
        tags: lease.tags,
        allow_disabled: lease.allow_disabled,
        context: lease.context,
    })
}

/// Reads the times that a client names.
pub(super) fn times(lease: &client::Lease) -> Result<Times, Refusal> {
    Ok(Times {
        duration: lease.duration.as_ref().map(read_duration).transpose()?,
        begin: lease.begin_time.as_ref().map(read_timestamp).transpose()?,
        end: lease.end_time.as_ref().map(read_timestamp).transpose()?,
    })
}

/// Reads a duration, which must not be negative.
pub(super) fn read_duration(duration: &ProtoDuration) -> Result<Duration, Refusal> {
    let read = read_parts(duration.seconds, duration.nanos);
    read.ok_or_else(|| Refusal::Terms("duration must be positive".to_owned()))
}

fn read_timestamp(time: &Timestamp) -> Result<Time, Refusal> {
    let read =
        read_parts(time.seconds, time.nanos).filter(|time| time.as_secs() <= LATEST.as_secs());
    read.ok_or_else(|| {
        Refusal::Terms("begin_time and end_time must be between 1970 and the year 9999".to_owned())
    })
}

fn read_parts(seconds: i64, nanos: i32) -> Option<Duration> {
    let nanos = u32::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// Writes a duration as the protocol has it.
pub(super) fn duration(duration: Duration) -> ProtoDuration {
    // The longest lease is far shorter than what the protocol can write.
    ProtoDuration::try_from(duration).unwrap_or_default()
}

/// Writes a date as the protocol has it.
pub(super) fn timestamp(time: Time) -> Timestamp {
    (UNIX_EPOCH + time).into()
}

/// Writes a selector in Kubernetes' own form, for the older calls.
pub(super) fn label_selector(selector: &Selector) -> v1::LabelSelector {
    let mut result = v1::LabelSelector::default();
    for Requirement {
        key,
        operator,
        values,
    } in selector.requirements()
    {
        let operator = match operator {
            Operator::Equals => {
                let value = values.concat();
                result.match_labels.insert(key.clone(), value);
                continue;
            }
            Operator::In => "In",
            Operator::NotEquals | Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            // No lease has them.
            Operator::Greater | Operator::Less => continue,
        };
        result.match_expressions.push(v1::LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: values.clone(),
        });
    }
    result
}

/// Reads a selector in Kubernetes' own form.
pub(super) fn read_label_selector(selector: &v1::LabelSelector) -> Result<Selector, Refusal> {
    let mut requirements = Vec::new();
    for (key, value) in &selector.match_labels {
        requirements.push(Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
        });
    }
    for expression in &selector.match_expressions {
        let operator = match expression.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                return Err(Refusal::Terms(format!(
                    "{other:?} is not a valid label selector operator; expected In, NotIn, Exists or DoesNotExist"
                )));
            }
        };
        requirements.push(Requirement {
            key: expression.key.clone(),
            operator,
            values: expression.values.clone(),
        });
    }
    Selector::of(&requirements).map_err(Refusal::Terms)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn selectors_keep_their_meaning() {
        for text in ["board=x", "a in (b,c),!d,e,f notin (g)", "a!=b,c=d"] {
            let selector = Selector::parse(text).unwrap();
            let back = read_label_selector(&label_selector(&selector)).unwrap();
            for labels in ["a=b", "a=c,e=1", "board=x", "c=d", "a=b,d=1,e=1", "a=z,c=d"] {
                let labels = labels
                    .split(',')
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect();
                let expected = selector.matches(&labels);
                assert_eq!(back.matches(&labels), expected, "{text} {labels:?}");
            }
        }
        let odd = v1::LabelSelector {
            match_expressions: vec![v1::LabelSelectorRequirement {
                key: "a".to_owned(),
                operator: "Like".to_owned(),
                values: vec![],
            }],
            ..v1::LabelSelector::default()
        };
        assert!(read_label_selector(&odd).is_err());
        let sneaky = v1::LabelSelector {
            match_labels: [("a".to_owned(), "b,c=d".to_owned())].into(),
            ..v1::LabelSelector::default()
        };
        // Two conditions where one was meant.
        assert!(read_label_selector(&sneaky).is_err());
    }

    #[test]
    fn odd_times_are_refused() {
        let lease = |duration: Option<(i64, i32)>, begin: Option<(i64, i32)>| client::Lease {
            selector: "a".to_owned(),
            duration: duration.map(|(seconds, nanos)| ProtoDuration { seconds, nanos }),
            begin_time: begin.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
            ..client::Lease::default()
        };
        assert!(terms(lease(Some((60, 5)), None)).is_ok());
        assert!(terms(lease(Some((60, 0)), Some((5, 0)))).is_ok());
        for (duration, begin) in [
            (None, None),
            (Some((0, 0)), None),
            (Some((-1, 0)), None),
            (Some((1, -1)), None),
            (Some((i64::MAX, 0)), None),
            (Some((1, i32::MAX)), None),
            (Some((60, 0)), Some((-1, 0))),
            (Some((60, 0)), Some((i64::MAX, 0))),
            (Some((60, 0)), Some((253_402_300_799, 0))),
        ] {
            let result = terms(lease(duration, begin));
            assert!(matches!(result, Err(Refusal::Terms(_))), "{result:?}");
        }
    }
}
