//! Who was refused: told to the log in a few lines, counted for metrics, kept in the database, and
//! held against those who fail too often.
//!
//! Pure and bounded: whatever strangers do, this takes no more memory.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
};

use sextant_model::{ApiTokenId, EnrolmentTokenId, NodeId, Timestamp};
use sextant_store::RefusalRow;
use uuid::Uuid;

use super::source::Source;
use crate::auth::Principal;

/// Sources that are remembered at the same time.
const SOURCES: usize = 4096;
/// Different refusals that wait to be kept in the database.
const PENDING: usize = 256;
/// Lines in the log in a minute, and as many again that sum up what was not logged one by one.
const LINES: usize = 30;
/// In the database, counts of so many seconds make one row.
const BUCKET: i64 = 600;
/// What more sources than are told apart count for.
const OTHERS: &str = "others";

/// Whose credentials were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An API token.
    ApiToken(ApiTokenId),
    /// An enrolment token.
    EnrolmentToken(EnrolmentTokenId),
    /// A node.
    Node(NodeId),
}

impl Subject {
    fn id(self) -> Uuid {
        match self {
            Self::ApiToken(id) => id.0,
            Self::EnrolmentToken(id) => id.0,
            Self::Node(id) => id.0,
        }
    }
}

impl From<Principal> for Subject {
    fn from(principal: Principal) -> Self {
        match principal {
            Principal::Operator { token_id, .. } => Self::ApiToken(token_id),
            Principal::Node { node_id, .. } => Self::Node(node_id),
        }
    }
}

/// What the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where from; the last one if there were several.
    pub address: IpAddr,
    /// Stable word.
    pub code: String,
    /// Whose credentials, the last one if there were several.
    pub subject: Option<Uuid>,
    /// How often since the last line.
    pub count: u64,
}

/// What was refused lately.
#[derive(Debug, Default)]
pub struct Refusals {
    /// The minute that `failures` and `told` are about.
    minute: i64,
    failures: BTreeMap<Source, u32>,
    /// What the log has been told of in this minute, and what has come since.
    told: BTreeMap<(Source, String), Option<Line>>,
    /// Refusals of this minute beyond those in `told`.
    untold: u64,
    pending: BTreeMap<(String, String, Uuid), RefusalRow>,
    totals: BTreeMap<String, u64>,
}

impl Refusals {
    /// One more. Returns what to log now; more of the same kind is summed up by [`Self::turn`].
    pub fn record(
        &mut self,
        address: IpAddr,
        code: &str,
        subject: Option<Subject>,
        now: Timestamp,
    ) -> Option<Line> {
        let source = Source::from(address);
        let subject = subject.map(Subject::id);
        *self.totals.entry(code.to_owned()).or_default() += 1;
        if is_failure(code)
            && (self.failures.len() < SOURCES || self.failures.contains_key(&source))
        {
            let failed = self.failures.entry(source).or_default();
            *failed = failed.saturating_add(1);
        }
        self.keep(address, source, code, subject, now);
        let kinds = self.told.len();
        match self.told.entry((source, code.to_owned())) {
            Entry::Vacant(_) if kinds >= LINES => {
                self.untold += 1;
                None
            }
            Entry::Vacant(vacant) => {
                vacant.insert(None);
                Some(Line { address, code: code.to_owned(), subject, count: 1 })
            }
            Entry::Occupied(mut more) => {
                let count = more.get().as_ref().map_or(0, |line| line.count) + 1;
                more.insert(Some(Line { address, code: code.to_owned(), subject, count }));
                None
            }
        }
    }

    /// Whether `source` has failed `most` times in this minute.
    pub fn has_failed(&self, source: Source, most: u32) -> bool {
        self.failures.get(&source).is_some_and(|failed| *failed >= most)
    }

    /// Begins a new minute if it is time. Returns what to log of the old one, and how many refusals
    /// of further kinds there were.
    pub fn turn(&mut self, now: Timestamp) -> (Vec<Line>, u64) {
        let minute = now.0.unix_timestamp().div_euclid(60);
        if minute == self.minute {
            return (vec![], 0);
        }
        self.minute = minute;
        self.failures.clear();
        let lines = std::mem::take(&mut self.told).into_values().flatten().collect();
        (lines, std::mem::take(&mut self.untold))
    }

    /// What is to be kept in the database.
    pub fn take_pending(&mut self) -> Vec<RefusalRow> {
        std::mem::take(&mut self.pending).into_values().collect()
    }

    /// How many of each code since the start.
    pub fn totals(&self) -> BTreeMap<String, u64> {
        self.totals.clone()
    }

    fn keep(
        &mut self,
        address: IpAddr,
        source: Source,
        code: &str,
        subject: Option<Uuid>,
        now: Timestamp,
    ) {
        let subject = subject.unwrap_or_else(Uuid::nil);
        let mut key = (source.to_string(), code.to_owned(), subject);
        if self.pending.len() >= PENDING && !self.pending.contains_key(&key) {
            key = (OTHERS.to_owned(), code.to_owned(), Uuid::nil());
        }
        let seconds = now.0.unix_timestamp();
        let row = self.pending.entry(key.clone()).or_insert_with(|| RefusalRow {
            bucket: seconds - seconds.rem_euclid(BUCKET),
            source: key.0,
            code: key.1,
            subject: key.2,
            count: 0,
            last_at: now,
            last_address: String::new(),
        });
        row.count += 1;
        row.last_at = now;
        row.last_address = address.to_canonical().to_string();
    }
}

/// Whether a refusal is one of credentials: what somebody who guesses would get.
fn is_failure(code: &str) -> bool {
    code == "unauthenticated" || code == "client-certificate-invalid" || code.starts_with("token-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(time::OffsetDateTime::from_unix_timestamp(1_790_000_000 + seconds).expect("time"))
    }

    fn address(n: u16) -> IpAddr {
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 1).into()
    }

    #[test]
    fn a_flood_of_one_source_is_two_lines_a_minute_and_one_row() {
        let mut refusals = Refusals::default();
        refusals.turn(at(0));
        let token = Subject::ApiToken(ApiTokenId(Uuid::from_u128(7)));
        let lines: Vec<_> = (0..1000)
            .filter_map(|_| refusals.record(address(1), "unauthenticated", Some(token), at(1)))
            .collect();
        assert_eq!(lines.len(), 1);
        let (summed, untold) = refusals.turn(at(61));
        assert_eq!((summed.len(), summed[0].count, untold), (1, 999, 0));
        assert_eq!(summed[0].subject, Some(Uuid::from_u128(7)));
        let rows = refusals.take_pending();
        assert_eq!((rows.len(), rows[0].count), (1, 1000));
        assert_eq!(
            (rows[0].source.as_str(), rows[0].last_address.as_str()),
            ("2001:db8:0:1::/64", "2001:db8:0:1::1")
        );
        assert_eq!(refusals.totals()["unauthenticated"], 1000);
        assert!(refusals.take_pending().is_empty());
    }

    #[test]
    fn who_has_failed_too_often_is_held_to_it_until_the_minute_is_over() {
        let mut refusals = Refusals::default();
        refusals.turn(at(0));
        for code in ["unauthenticated", "token-used", "client-certificate-invalid"] {
            refusals.record(address(1), code, None, at(1));
        }
        refusals.record(address(1), "too-many-connections", None, at(1));
        assert!(refusals.has_failed(Source::from(address(1)), 3));
        assert!(!refusals.has_failed(Source::from(address(1)), 4), "only bad credentials count");
        assert!(!refusals.has_failed(Source::from(address(2)), 1), "others do not suffer");
        refusals.turn(at(61));
        assert!(!refusals.has_failed(Source::from(address(1)), 1));
    }

    #[test]
    fn many_sources_take_bounded_memory_and_few_lines() {
        let mut refusals = Refusals::default();
        refusals.turn(at(0));
        let lines =
            (0..9000).filter_map(|n| refusals.record(address(n), "unauthenticated", None, at(1)));
        assert_eq!(lines.count(), LINES);
        assert_eq!(refusals.failures.len(), SOURCES);
        let rows = refusals.take_pending();
        assert!(rows.len() <= PENDING + 1, "{}", rows.len());
        assert_eq!(rows.iter().map(|row| row.count).sum::<i64>(), 9000);
        let others = rows.iter().find(|row| row.source == OTHERS).expect("the rest together");
        assert_eq!(others.count, 9000 - i64::try_from(PENDING).expect("small"));
        assert_eq!(refusals.turn(at(61)).1, 9000 - LINES as u64);
    }
}
