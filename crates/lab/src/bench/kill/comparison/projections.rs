//! The projections against themselves, made anew from the log.

use super::Comparison;
use crate::{error::Result, lab::Lab, postgres::query};

const TABLES: [&str; 4] = ["networks", "nodes", "enrolment_tokens", "api_tokens"];
/// A log that grows meanwhile makes the comparison void.
const ATTEMPTS: usize = 5;

/// Dumps every projection, rebuilds, dumps again.
pub(in super::super) fn compare(lab: &Lab) -> Result<Vec<Comparison>> {
    let url = &lab.description().postgres_url;
    for _ in 0..ATTEMPTS {
        let head = head(url)?;
        let before = dump(url)?;
        lab.rebuild_projections()?;
        let after = dump(url)?;
        if head == self::head(url)? {
            let what = |table| format!("rows of {table} and rows after a rebuild");
            let compare =
                |((table, before), after)| Comparison::of_sets(&what(table), after, before);
            return Ok(TABLES.into_iter().zip(before).zip(after).map(compare).collect());
        }
    }
    let reason = vec![format!("the log grew in each of {ATTEMPTS} attempts")];
    Ok(vec![Comparison::of_differences("projections and a rebuild", 0, reason)])
}

fn head(url: &str) -> Result<Vec<String>> {
    query(url, "SELECT max(event_id) FROM events")
}

fn dump(url: &str) -> Result<Vec<Vec<String>>> {
    let rows = |table| query(url, &format!("SELECT to_jsonb(t) FROM {table} t"));
    TABLES.into_iter().map(rows).collect()
}
