//! Every ack with its time, noted inside Postgres.

use std::time::Duration;

use sextant_model::NodeId;

use crate::{
    description::LabDescription,
    error::{LabError, Result},
    postgres::{psql, query},
};

/// `node_reports` keeps the newest ack of a node only; this table keeps all of them, written by
/// the transaction that took the ack.
const INSTALL: [&str; 3] = [
    "CREATE TABLE bench_acks (node_id uuid NOT NULL, revision bigint NOT NULL)",
    "CREATE FUNCTION bench_note_ack() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
     BEGIN
         INSERT INTO public.bench_acks VALUES (NEW.node_id, NEW.revision);
         RETURN NULL;
     END $$",
    "CREATE TRIGGER bench_note_ack AFTER INSERT OR UPDATE ON node_reports
     FOR EACH ROW EXECUTE FUNCTION bench_note_ack()",
];

/// The acks of one lab.
#[derive(Debug)]
pub(super) struct Acks {
    url: String,
}

/// How long one join took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Times {
    /// From the start of its transaction until the last ack was committed.
    pub(super) from_start: Duration,
    /// The same from its commit.
    pub(super) from_commit: Duration,
}

impl Times {
    /// From the start of its transaction to its commit.
    pub(super) fn commit(&self) -> Duration {
        self.from_start.saturating_sub(self.from_commit)
    }
}

impl Acks {
    /// Notes every ack from now on.
    pub(super) fn install(lab: &LabDescription) -> Result<Self> {
        psql(&lab.postgres_url, &INSTALL)?;
        Ok(Self { url: lab.postgres_url.clone() })
    }

    /// From the event `joined` to the first ack that covers it, of the slowest of `others`.
    pub(super) fn times(&self, joined: i64, others: &[NodeId]) -> Result<Times> {
        let ids = others.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
        let rows = query(
            &self.url,
            &format!(
                "WITH firsts AS (
                     SELECT min(pg_xact_commit_timestamp(xmin)) AS at FROM bench_acks
                     WHERE revision >= {joined} AND node_id = ANY (ARRAY[{ids}]::uuid[])
                     GROUP BY node_id)
                 SELECT (SELECT count(*) FROM firsts),
                        extract(epoch FROM (SELECT max(at) FROM firsts) - occurred_at),
                        extract(epoch FROM (SELECT max(at) FROM firsts)
                                           - pg_xact_commit_timestamp(xmin))
                 FROM events WHERE event_id = {joined}"
            ),
        )?;
        let row = rows.first().map_or("", String::as_str);
        parse(row, others.len()).ok_or_else(|| LabError::Command {
            command: format!("the acks of event {joined}"),
            status: format!("not {} acks and two times", others.len()),
            output: row.to_owned(),
        })
    }
}

fn parse(row: &str, acks: usize) -> Option<Times> {
    let mut cells = row.split('\t');
    let complete = cells.next()?.parse() == Ok(acks);
    // A negative time would mean that the clock was set back meanwhile.
    let mut time = || Duration::try_from_secs_f64(cells.next()?.parse().ok()?).ok();
    let (from_start, from_commit) = (time()?, time()?);
    complete.then_some(Times { from_start, from_commit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_only_with_all_acks_and_times_that_can_be() {
        let times =
            Times { from_start: Duration::from_millis(52), from_commit: Duration::from_millis(48) };
        assert_eq!(parse("4\t0.052000\t0.048000", 4), Some(times));
        assert_eq!(parse("3\t0.052000\t0.048000", 4), None);
        assert_eq!(parse("4\t0.052000\t-0.048000", 4), None);
        assert_eq!(parse("4\t\t", 4), None);
    }
}
