//! Which events an operator asks for.

use std::{str::FromStr, time::Duration};

use sextant_model::{Event, Timestamp};
use time::{Date, OffsetDateTime, PrimitiveDateTime, format_description::well_known::Iso8601};

use super::line::{Names, actor, event_type, kind};
use crate::duration;

/// By how much the clocks of replicas, which write the moments of events, may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(600);

/// A moment to start at, as an operator writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// At this time.
    At(Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = duration::parse(text) {
            return Ok(Self::Ago(span));
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        // Without a zone it is UTC, as everywhere here.
        let moment = PrimitiveDateTime::parse(text, &Iso8601::DATE_TIME)
            .or_else(|_| Date::parse(text, &Iso8601::DATE).map(Date::midnight));
        moment.map(|at| Self::At(Timestamp(at.assume_utc()))).map_err(|_| {
            format!(
                "\"{text}\" is neither a span of time like 90s, 1h or 7d nor a moment like \
                 2026-11-25 or 2026-11-25T14:00:00Z"
            )
        })
    }
}

impl Since {
    /// The moment, seen from `now`.
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => {
                let span = time::Duration::try_from(span).unwrap_or(time::Duration::MAX);
                Timestamp(now.0.checked_sub(span).unwrap_or(OffsetDateTime::UNIX_EPOCH))
            }
            Self::At(at) => at,
        }
    }
}

/// What an event must be to be shown.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of one of these types; of any if there are none.
    pub types: Vec<String>,
    /// Done by this one.
    pub actor: Option<String>,
    /// Done to this one.
    pub subject: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
}

impl Filter {
    /// Whether every event is wanted.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.since.is_none() && !self.names_things()
    }

    /// Whether it takes names to know what is wanted.
    pub fn names_things(&self) -> bool {
        self.actor.is_some() || self.subject.is_some()
    }

    /// Whether the event, and so every earlier one, happened before the moment to start at.
    pub fn is_surely_before(&self, event: &Event) -> bool {
        self.since.is_some_and(|since| event.occurred_at.after(CLOCKS_DIFFER) < since)
    }

    /// Whether the event is wanted.
    pub fn wants(&self, event: &Event, names: &Names) -> bool {
        let subject = names.of(event.aggregate_id);
        let by_kind = format!("{}/{subject}", kind(event.aggregate_type));
        let is_meant = |wanted: &str, id: uuid::Uuid, name: &str| {
            wanted == name
                || crate::lookup::id_beginning(wanted)
                    .is_some_and(|start| id.to_string().starts_with(&start))
        };
        (self.types.is_empty() || self.types.contains(&event_type(event)))
            && self.since.is_none_or(|since| event.occurred_at >= since)
            && self.actor.as_deref().is_none_or(|wanted| {
                is_meant(wanted, event.actor_id.0, &actor(event.actor_id, names))
            })
            && self.subject.as_deref().is_none_or(|wanted| {
                wanted == by_kind || is_meant(wanted, event.aggregate_id, &subject)
            })
    }
}

#[cfg(test)]
mod tests {
    use sextant_model::{
        ActorId, AggregateKind, DnsLabel, EventBody, NetworkId,
        event::{NetworkRenamed, NodeWithdrawn},
    };
    use uuid::Uuid;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds).expect("moment")
    }

    #[test]
    fn a_start_is_a_span_or_a_moment() {
        let read = |text: &str| text.parse::<Since>().map(|since| since.moment(at(1_700_000_000)));
        assert_eq!(read("1h"), Ok(at(1_700_000_000 - 3600)));
        assert_eq!(read("2023-11-14T22:13:20Z"), Ok(at(1_700_000_000)));
        assert_eq!(read("2023-11-14T22:13:20+01:00"), Ok(at(1_700_000_000 - 3600)));
        assert_eq!(read("2023-11-14T22:13:20"), Ok(at(1_700_000_000)));
        assert_eq!(read("2023-11-14"), Ok(at(1_699_920_000)));
        for bad in ["yesterday", "", "7", "14:00"] {
            let error = read(bad).expect_err(bad);
            assert!(error.contains(&format!("\"{bad}\" is neither")), "{error}");
        }
    }

    #[test]
    fn events_are_found_by_type_actor_subject_and_time() {
        let event = Event {
            event_id: 42,
            occurred_at: at(1000),
            aggregate_type: AggregateKind::Node,
            aggregate_id: Uuid::from_u128(5),
            aggregate_seq: 1,
            actor_id: ActorId::SYSTEM,
            body: EventBody::NodeWithdrawn(NodeWithdrawn {
                network_id: NetworkId(Uuid::from_u128(1)),
            }),
        };
        let mut names = Names::default();
        let name = DnsLabel::new("worker-1").expect("label");
        let body = EventBody::NetworkRenamed(NetworkRenamed { name });
        names.learn(&Event { body, ..event.clone() });
        let wants = |filter: Filter| filter.wants(&event, &names);
        let subject = |text: &str| Filter { subject: Some(text.into()), ..Filter::default() };
        for text in ["worker-1", "node/worker-1", "0000", "00000000-0000-0000-0000-000000000005"] {
            assert!(wants(subject(text)), "{text}");
        }
        for text in ["worker", "network/worker-1", "0001"] {
            assert!(!wants(subject(text)), "{text}");
        }
        let actor = |text: &str| Filter { actor: Some(text.into()), ..Filter::default() };
        assert!(wants(actor("system")) && !wants(actor("alice")));
        let since = |seconds| Filter { since: Some(at(seconds)), ..Filter::default() };
        assert!(wants(since(1000)) && !wants(since(1001)));
        assert!(since(2000).is_surely_before(&event) && !since(1100).is_surely_before(&event));
        let types = |word: &str| Filter { types: vec![word.into()], ..Filter::default() };
        assert!(wants(types("node-withdrawn")) && !wants(types("node-released")));
    }
}
