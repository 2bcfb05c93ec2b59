//! Releases: what one deploy placed.
//!
//! ```text
//! (none) --create--> pending --activate--> live --supersede--> superseded
//!                       \----------------supersede----------------^
//! ```
//! A release goes live when every workload it promised is there and healthy; only then do older ones
//! give way, so a deploy that never becomes healthy takes nothing down. One that loses a workload
//! before never goes live ([`Standing`]).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, Refusal, TenancyRefusal},
    event::{
        AggregateKind, EventBody, ProcessSpec, ReleaseActivated, ReleaseCreated, ReleaseSuperseded,
    },
    id::ReleaseId,
};

/// Most process types of one release.
pub const MOST_PROCESS_TYPES: usize = 16;
/// Most workloads of one process type in one release.
pub const MOST_INSTANCES: u16 = 100;
/// Most workloads of one release: all of them are placed in one transaction.
pub const MOST_WORKLOADS: usize = 200;

/// How far a release has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Its workloads are starting.
    #[default]
    Pending,
    /// All its workloads were healthy, and no later one has taken its place.
    Live,
    /// A later one has taken its place.
    Superseded,
}

/// What keeps a pending release from going live, if anything does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: every workload it promised is there and healthy.
    Complete,
    /// Not all of its workloads are healthy yet.
    Waiting,
    /// A workload of it was withdrawn, by its owner or with its node: it never goes live, because
    /// what it promised is not there any more. The remedy is another deploy.
    Incomplete,
}

impl Standing {
    /// How a release stands that promised `processes`, of whose workloads `placed` have not been
    /// withdrawn and `healthy` are healthy. A deploy places all of them at once and none is ever
    /// added, so that their number says whether one is missing.
    pub fn of(processes: &[ProcessSpec], placed: usize, healthy: usize) -> Self {
        let promised = promised(processes);
        if placed < promised {
            Self::Incomplete
        } else if healthy < promised {
            Self::Waiting
        } else {
            Self::Complete
        }
    }
}

/// How many workloads a release runs in all.
fn promised(processes: &[ProcessSpec]) -> usize {
    processes.iter().map(|process| usize::from(process.instances)).sum()
}

/// A release as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReleaseState {
    created: Option<ReleaseCreated>,
    phase: Phase,
    superseded_by: Option<ReleaseId>,
}

impl ReleaseState {
    /// Begins a deploy.
    pub fn create(created: ReleaseCreated) -> Result<EventBody, Refusal> {
        check_processes(&created.processes)?;
        Ok(EventBody::ReleaseCreated(created))
    }

    /// What it runs.
    pub fn created(&self) -> Result<&ReleaseCreated, Refusal> {
        self.created.as_ref().ok_or(Refusal::NotFound(AggregateKind::Release))
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What has taken its place.
    pub fn superseded_by(&self) -> Option<ReleaseId> {
        self.superseded_by
    }

    /// Makes it live, because it stands complete; nothing to do if it was, or if a later
    /// one has been faster.
    pub fn activate(&self) -> Result<Option<EventBody>, Refusal> {
        let created = self.created()?;
        let (org_id, environment_id) = (created.org_id, created.environment_id);
        let pending = self.phase == Phase::Pending;
        let activated = ReleaseActivated { org_id, environment_id };
        Ok(pending.then_some(EventBody::ReleaseActivated(activated)))
    }

    /// Gives way to a later one; nothing to do if it already did.
    pub fn supersede(&self, by: ReleaseId) -> Result<Option<EventBody>, Refusal> {
        let created = self.created()?;
        let (org_id, environment_id) = (created.org_id, created.environment_id);
        let open = self.phase != Phase::Superseded;
        let superseded = ReleaseSuperseded { org_id, environment_id, by };
        Ok(open.then_some(EventBody::ReleaseSuperseded(superseded)))
    }
}

/// Whether a release can run these.
fn check_processes(processes: &[ProcessSpec]) -> Result<(), TenancyRefusal> {
    if processes.is_empty() {
        return Err(TenancyRefusal::NoProcesses);
    }
    if processes.len() > MOST_PROCESS_TYPES {
        return Err(TenancyRefusal::TooManyProcessTypes(processes.len()));
    }
    let mut seen = BTreeSet::new();
    for process in processes {
        if !seen.insert(&process.process_type) {
            return Err(TenancyRefusal::ProcessTypeTwice(process.process_type.clone()));
        }
        if !(1..=MOST_INSTANCES).contains(&process.instances) {
            let name = process.process_type.clone();
            return Err(TenancyRefusal::Instances(name, process.instances));
        }
    }
    let total = promised(processes);
    if total > MOST_WORKLOADS {
        return Err(TenancyRefusal::TooManyWorkloads(total));
    }
    Ok(())
}

impl Aggregate for ReleaseState {
    const KIND: AggregateKind = AggregateKind::Release;

    fn apply(&mut self, event: &EventBody) {
        match event {
            EventBody::ReleaseCreated(created) => self.created = Some(created.clone()),
            EventBody::ReleaseActivated(_) => self.phase = Phase::Live,
            EventBody::ReleaseSuperseded(superseded) => {
                self.phase = Phase::Superseded;
                self.superseded_by = Some(superseded.by);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{EnvironmentId, OrgId},
        name::DnsLabel,
    };
    use uuid::Uuid;

    fn process(name: &str, instances: u16) -> ProcessSpec {
        ProcessSpec { process_type: DnsLabel::new(name).expect("label"), instances }
    }

    fn create(processes: Vec<ProcessSpec>) -> Result<EventBody, Refusal> {
        ReleaseState::create(ReleaseCreated {
            org_id: OrgId(Uuid::from_u128(1)),
            environment_id: EnvironmentId(Uuid::from_u128(2)),
            number: 1,
            processes,
        })
    }

    #[test]
    fn a_release_runs_something_and_no_more_than_is_sane() {
        let many = |count: usize| (0..count).map(|n| process(&format!("p{n}"), 1)).collect();
        assert!(create(vec![process("web", 100), process("job", 100)]).is_ok());
        assert!(create(many(16)).is_ok());
        for (processes, says) in [
            (vec![], "processes is empty"),
            (many(17), "17 process types; give at most 16"),
            (vec![process("web", 1), process("web", 2)], "names \"web\" twice"),
            (vec![process("web", 0)], "\"web\" is 0; give 1 to 100"),
            (vec![process("web", 101)], "\"web\" is 101; give 1 to 100"),
            (
                vec![process("a", 100), process("b", 100), process("c", 1)],
                "201 workloads in all; give at most 200",
            ),
        ] {
            let refused = create(processes).expect_err(says);
            assert!(refused.to_string().contains(says), "{refused}");
            assert_eq!(refused.code(), "processes-invalid");
        }
    }

    #[test]
    fn a_release_stands_only_with_every_workload_it_promised() {
        let processes = [process("web", 2), process("job", 1)];
        for (placed, healthy, expected) in [
            (3, 0, Standing::Waiting),
            (3, 2, Standing::Waiting),
            (3, 3, Standing::Complete),
            // A whole process type, or one instance of it: what is left is healthy, and no release.
            (2, 2, Standing::Incomplete),
            (1, 1, Standing::Incomplete),
            (2, 1, Standing::Incomplete),
            (0, 0, Standing::Incomplete),
        ] {
            assert_eq!(Standing::of(&processes, placed, healthy), expected, "{placed} {healthy}");
        }
    }

    #[test]
    fn a_release_goes_live_once_and_gives_way_once() {
        let later = ReleaseId(Uuid::from_u128(9));
        let mut release = ReleaseState::default();
        assert!(release.activate().is_err(), "an unknown release");
        release.apply(&create(vec![process("web", 1)]).expect("created"));
        assert_eq!(release.phase(), Phase::Pending);
        let mut overtaken = release.clone();
        release.apply(&release.activate().expect("known").expect("pending"));
        assert_eq!(release.phase(), Phase::Live);
        assert_eq!(release.activate(), Ok(None));
        release.apply(&release.supersede(later).expect("known").expect("live"));
        assert_eq!((release.phase(), release.superseded_by()), (Phase::Superseded, Some(later)));
        assert_eq!(release.supersede(later), Ok(None));
        overtaken.apply(&overtaken.supersede(later).expect("known").expect("pending"));
        assert_eq!(overtaken.activate(), Ok(None), "it never goes live any more");
    }
}
