//! The log against what was asked, what was answered, and what a follower saw.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    super::{
        follower::Seen,
        journal::{LogRow, Outcome, Write},
    },
    Comparison,
};

/// Every aggregate's events are numbered from 1 without gaps, in the order of the log.
pub(in super::super) fn sequences(log: &[LogRow]) -> Comparison {
    let mut last: BTreeMap<&(String, Uuid), i32> = BTreeMap::new();
    let mut differences = Vec::new();
    for row in log {
        let last = last.entry(&row.aggregate).or_default();
        if row.seq != *last + 1 {
            let (kind, id) = &row.aggregate;
            differences.push(format!("event {}: {kind} {id} {last} -> {}", row.event_id, row.seq));
        }
        *last = row.seq;
    }
    Comparison::of_differences("sequences of aggregates without gaps", last.len(), differences)
}

/// What was acknowledged is in the log once, as answered; what is said to have changed nothing is
/// not; what got no answer is there once or not at all; nothing was refused.
pub(in super::super) fn writes(log: &[LogRow], writes: &[Write]) -> Comparison {
    let index = Index::new(log);
    let difference = |write: &Write| {
        let found: Vec<&LogRow> = index.of(write);
        let text = || write.text();
        match (&write.outcome, found.as_slice()) {
            (Outcome::Refused(reason), _) => Some(format!("{} was refused: {reason}", text())),
            (Outcome::Unknown(_), [] | [_]) | (Outcome::Unchanged(_), []) => None,
            (Outcome::Unchanged(reason), _) => Some(format!("{} was done: {reason}", text())),
            (Outcome::Acknowledged, [row]) if write.id == Some(row.aggregate.1) => None,
            (Outcome::Acknowledged, [row]) => {
                let id = row.aggregate.1;
                Some(format!("{} was acknowledged, and the log has {id}", text()))
            }
            (Outcome::Acknowledged, []) => Some(format!("{} was acknowledged and is lost", text())),
            (_, rows) => Some(format!("{} is in the log {} times", text(), rows.len())),
        }
    };
    let differences = writes.iter().filter_map(difference).collect();
    Comparison::of_differences("writes and the log", writes.len(), differences)
}

/// An Idempotency-Key is kept if and only if the event of its request is in the log.
pub(in super::super) fn keys(log: &[LogRow], writes: &[Write], kept: Vec<String>) -> Comparison {
    let index = Index::new(log);
    let done = writes.iter().filter(|write| !index.of(write).is_empty());
    let expected = done.filter_map(|write| write.key.clone());
    Comparison::of_sets("Idempotency-Keys and the log", expected, kept)
}

/// The follower saw every event once, in order, and nothing else.
pub(in super::super) fn follower(log: &[LogRow], seen: &Seen) -> Comparison {
    let ids: Vec<i64> = log.iter().map(|row| row.event_id).collect();
    let mut differences = seen.strange.clone();
    let first = ids.iter().zip(&seen.events).find(|(expected, found)| expected != found);
    if let Some((expected, found)) = first {
        differences.push(format!("event {expected} was due and {found} came"));
    }
    if ids.len() != seen.events.len() {
        let (there, came) = (ids.len(), seen.events.len());
        differences.push(format!("{there} events are in the log and {came} came"));
    }
    Comparison::of_differences("events in the log and at the follower", ids.len(), differences)
}

/// Rows by what a write can be recognised by.
struct Index<'l>(BTreeMap<&'l str, BTreeMap<Mark<'l>, Vec<&'l LogRow>>>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Mark<'l> {
    Name(&'l str),
    Id(Uuid),
}

impl<'l> Index<'l> {
    fn new(log: &'l [LogRow]) -> Self {
        let mut index: BTreeMap<&str, BTreeMap<Mark<'_>, Vec<&LogRow>>> = BTreeMap::new();
        for row in log {
            let rows = index.entry(&row.event_type).or_default();
            rows.entry(Mark::Name(&row.name)).or_default().push(row);
            rows.entry(Mark::Id(row.aggregate.1)).or_default().push(row);
        }
        Self(index)
    }

    fn of(&self, write: &'l Write) -> Vec<&'l LogRow> {
        let mark = match (write.name.as_str(), write.id) {
            ("", Some(id)) => Mark::Id(id),
            (name, _) => Mark::Name(name),
        };
        let rows = self.0.get(write.event_type).and_then(|rows| rows.get(&mark));
        rows.cloned().unwrap_or_default()
    }
}

/// How many of the writes without an answer were done all the same.
pub(in super::super) fn done_silently(log: &[LogRow], writes: &[Write]) -> usize {
    let index = Index::new(log);
    let silent = writes.iter().filter(|write| matches!(write.outcome, Outcome::Unknown(_)));
    silent.filter(|write| !index.of(write).is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "network-created";

    fn row(event_id: i64, id: u128, seq: i32, name: &str) -> LogRow {
        LogRow {
            event_id,
            aggregate: ("network".to_owned(), Uuid::from_u128(id)),
            seq,
            event_type: TYPE.to_owned(),
            name: name.to_owned(),
        }
    }

    fn write(name: &str, id: Option<u128>, outcome: Outcome) -> Write {
        let (id, key) = (id.map(Uuid::from_u128), Some(format!("key-{name}")));
        Write { event_type: TYPE, name: name.to_owned(), id, key, attempts: 1, outcome }
    }

    fn unknown() -> Outcome {
        Outcome::Unknown("no answer".to_owned())
    }

    #[test]
    fn a_gap_in_a_sequence_is_found() {
        assert!(
            sequences(&[row(1, 1, 1, "a"), row(2, 2, 1, "b"), row(5, 1, 2, "c")]).is_identical()
        );
        assert!(!sequences(&[row(1, 1, 1, "a"), row(2, 1, 3, "b")]).is_identical());
        assert!(!sequences(&[row(1, 1, 2, "a"), row(2, 1, 1, "b")]).is_identical());
    }

    #[test]
    fn a_write_that_is_lost_doubled_or_another_is_found() {
        let log = [row(1, 1, 1, "a"), row(2, 2, 1, "b"), row(3, 3, 1, "b")];
        let good = |write| writes(&log, &[write]).is_identical();
        assert!(good(write("a", Some(1), Outcome::Acknowledged)));
        assert!(good(write("", Some(1), Outcome::Acknowledged)));
        assert!(good(write("a", None, unknown())) && good(write("c", None, unknown())));
        assert!(!good(write("c", Some(1), Outcome::Acknowledged)), "lost");
        assert!(!good(write("a", Some(9), Outcome::Acknowledged)), "another one");
        assert!(!good(write("b", None, unknown())), "twice");
        let unchanged = |name| write(name, None, Outcome::Unchanged("503".to_owned()));
        assert!(good(unchanged("c")) && !good(unchanged("a")), "said to have changed nothing");
        assert!(!good(write("c", None, Outcome::Refused("409".to_owned()))), "refused");
    }

    #[test]
    fn a_key_without_its_event_is_found_and_the_reverse() {
        let log = [row(1, 1, 1, "a")];
        let asked = [write("a", None, unknown()), write("b", None, unknown())];
        let good = |kept: &[&str]| {
            keys(&log, &asked, kept.iter().map(|&key| key.to_owned()).collect()).is_identical()
        };
        assert!(good(&["key-a"]));
        assert!(!good(&[]) && !good(&["key-a", "key-b"]));
    }

    #[test]
    fn an_event_that_is_missed_doubled_or_swapped_is_found() {
        let log = [row(1, 1, 1, "a"), row(2, 2, 1, "b"), row(4, 3, 1, "c")];
        let good = |events: &[i64]| {
            follower(&log, &Seen { events: events.to_vec(), ..Seen::default() }).is_identical()
        };
        assert!(good(&[1, 2, 4]));
        for events in [&[1, 2][..], &[1, 4], &[1, 2, 2, 4], &[2, 1, 4], &[1, 2, 4, 5]] {
            assert!(!good(events), "{events:?}");
        }
        let snapshot = vec!["a snapshot".to_owned()];
        let seen = Seen { events: vec![1, 2, 4], strange: snapshot, ..Seen::default() };
        assert!(!follower(&log, &seen).is_identical());
    }
}
