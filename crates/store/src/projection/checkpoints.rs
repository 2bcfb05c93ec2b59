//! How far each projection is, and which go on next.

use sextant_model::AggregateKind;

use super::{ALL, clear};
use crate::{error::StoreError, session::PgConnection};

/// A set of projections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Projections(u32);

impl Projections {
    /// Every one.
    pub const ALL: Self = Self((1 << ALL.len()) - 1);

    /// Those with these names.
    pub fn named(names: &[&str]) -> Self {
        let bit = |(index, name): (usize, &&str)| if names.contains(name) { 1 << index } else { 0 };
        Self(ALL.iter().enumerate().map(bit).sum())
    }

    /// Those that read the events of a kind of aggregate.
    pub fn of(kind: AggregateKind) -> Self {
        Self::named(match kind {
            AggregateKind::ApiToken => &["api-tokens"],
            AggregateKind::App => &["apps"],
            AggregateKind::EnrolmentToken => &["enrolment-tokens"],
            AggregateKind::Environment => &["environments", "hostnames", "port-grants"],
            AggregateKind::Network => &["networks"],
            AggregateKind::Node => &["nodes"],
            AggregateKind::Org => &["orgs"],
            AggregateKind::Release => &["releases"],
            AggregateKind::Route => &["routes"],
            AggregateKind::Workload => &["workloads", "routes"],
            AggregateKind::PortPolicy | AggregateKind::Unknown => &[],
        })
    }

    /// These and those.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Their names.
    pub fn names(self) -> Vec<String> {
        let named = |(index, name): (usize, &&str)| self.has(index).then(|| (*name).to_owned());
        ALL.iter().enumerate().filter_map(named).collect()
    }

    fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }
}

/// How far every projection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    at: [i64; ALL.len()],
    filled: Projections,
}

impl Checkpoints {
    /// Whether `projections` contain the event. What is still being filled is not waited for:
    /// nothing is read from it.
    pub fn contain(&self, projections: Projections, event_id: i64) -> bool {
        let waits = |(index, at): (usize, &i64)| {
            projections.has(index) && self.filled.has(index) && *at < event_id
        };
        !self.at.iter().enumerate().any(waits)
    }

    /// Whether something may be read from each of `projections`.
    pub fn are_filled(&self, projections: Projections) -> bool {
        projections.0 & !self.filled.0 == 0
    }

    /// Whether nothing is left to do.
    pub fn are_all_at(&self, settled: i64) -> bool {
        self.filled == Projections::ALL && self.least() >= settled
    }

    /// How far all of them are.
    pub fn least(&self) -> i64 {
        if self.filled != Projections::ALL {
            return 0;
        }
        self.at.iter().copied().min().unwrap_or(0)
    }
}

impl From<&[Checkpoint]> for Checkpoints {
    fn from(checkpoints: &[Checkpoint]) -> Self {
        let of = |name| checkpoints.iter().find(|checkpoint| checkpoint.name == name);
        let at = ALL.map(|name| of(name).map_or(0, |checkpoint| checkpoint.at));
        let filled: Vec<&str> = checkpoints
            .iter()
            .filter(|checkpoint| checkpoint.filled)
            .map(|checkpoint| checkpoint.name)
            .collect();
        Self { at, filled: Projections::named(&filled) }
    }
}

/// One projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub name: &'static str,
    pub at: i64,
    pub filled: bool,
}

/// Which projections go on, and over which part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub group: Vec<&'static str>,
    pub after: i64,
    pub up_to: i64,
}

/// The next step of those that are `filled`, or of those that are not: the ones that are furthest
/// behind catch up with the next ones, and go on together with them from there.
pub(super) fn next_step(checkpoints: &[Checkpoint], goal: i64, filled: bool) -> Option<Step> {
    let among: Vec<_> = checkpoints.iter().filter(|one| one.filled == filled).collect();
    let after = among.iter().map(|one| one.at).min().filter(|least| *least < goal)?;
    let next = among.iter().map(|one| one.at).filter(|at| *at > after).min();
    let group = among.iter().filter(|one| one.at == after).map(|one| one.name).collect();
    Some(Step { group, after, up_to: next.map_or(goal, |next| next.min(goal)) })
}

/// The checkpoints, locked: whoever holds them is the one that projects. A projection without one
/// is new: it begins empty, and has nothing to be filled with while the log is.
pub(super) async fn lock(
    connection: &mut PgConnection,
    settled: i64,
) -> Result<Vec<Checkpoint>, StoreError> {
    let mut found = select(connection).await?;
    if found.len() == ALL.len() {
        return Ok(found);
    }
    let missing = ALL.into_iter().filter(|name| !found.iter().any(|one| one.name == *name));
    for name in missing.collect::<Vec<_>>() {
        let inserted = sqlx::query!(
            "INSERT INTO projection_checkpoints (projection, last_applied_event_id, filled)
             VALUES ($1, 0, $2) ON CONFLICT DO NOTHING",
            name,
            settled == 0
        )
        .execute(&mut *connection)
        .await?;
        if inserted.rows_affected() > 0 {
            clear(name, connection).await?;
        }
    }
    found = select(connection).await?;
    Ok(found)
}

async fn select(connection: &mut PgConnection) -> Result<Vec<Checkpoint>, StoreError> {
    let rows = sqlx::query!(
        "SELECT projection, last_applied_event_id, filled FROM projection_checkpoints
         WHERE projection = ANY($1) ORDER BY projection FOR UPDATE",
        &ALL.map(String::from)
    )
    .fetch_all(connection)
    .await?;
    let known = |name: &str| ALL.into_iter().find(|known| *known == name);
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let name = known(&row.projection)?;
            Some(Checkpoint { name, at: row.last_applied_event_id, filled: row.filled })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoints(ats: &[(i64, bool)]) -> Vec<Checkpoint> {
        let one = |(name, (at, filled)): (&'static str, &(i64, bool))| Checkpoint {
            name,
            at: *at,
            filled: *filled,
        };
        ALL.into_iter().zip(ats).map(one).collect()
    }

    #[test]
    fn those_behind_catch_up_before_all_go_on_together() {
        let step = |ats: &[(i64, bool)], goal, filled| {
            let step = next_step(&checkpoints(ats), goal, filled)?;
            Some((step.group.len(), step.after, step.up_to))
        };
        assert_eq!(step(&[(5, true), (5, true)], 5, true), None);
        assert_eq!(step(&[(5, true), (5, true)], 9, true), Some((2, 5, 9)));
        assert_eq!(step(&[(5, true), (3, true)], 9, true), Some((1, 3, 5)));
        assert_eq!(step(&[(5, true), (0, false)], 9, true), Some((1, 5, 9)), "nobody waits");
        assert_eq!(step(&[(5, true), (0, false), (2, false)], 5, false), Some((1, 0, 2)));
        assert_eq!(step(&[(5, true), (7, true)], 6, true), Some((1, 5, 6)));
    }

    #[test]
    fn what_is_being_filled_is_neither_read_nor_waited_for() {
        let mut all = vec![(7, true); ALL.len()];
        all[1] = (2, false);
        let found = Checkpoints::from(&*checkpoints(&all));
        let (apps, orgs) = (Projections::named(&["apps"]), Projections::of(AggregateKind::Org));
        assert!(!found.are_filled(apps) && found.are_filled(orgs));
        assert!(found.contain(Projections::ALL, 7) && !found.contain(orgs, 8));
        assert!(found.contain(apps, 8));
        assert!(!found.are_all_at(7));
        all[1] = (7, true);
        assert!(Checkpoints::from(&*checkpoints(&all)).are_all_at(7));
        assert_eq!(apps.and(orgs).names(), ["apps", "orgs"]);
    }
}
