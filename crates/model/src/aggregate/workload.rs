//! Workloads: placed, found healthy or not, withdrawn, released.
//!
//! ```text
//! (none) --place--> starting --confirm--> healthy <--report--> unhealthy
//!                       \                    |                    /
//!                        \----------------withdraw---------------/
//!                                            v
//!                                        withdrawn --release--> released
//! ```
//! As with nodes, leaving is two steps: the address of a withdrawn workload stays reserved until
//! its node and every edge have let go of it (invariant 5).

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, Refusal, TenancyRefusal},
    event::{
        AggregateKind, EventBody, WorkloadHealth, WorkloadHealthChanged, WorkloadPlaced,
        WorkloadReleased, WorkloadWithdrawn,
    },
};

/// How far a workload has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not placed.
    #[default]
    Unknown,
    /// On its node, and how it is.
    Placed(WorkloadHealth),
    /// Leaving: its node and the edges are letting go.
    Withdrawn,
    /// Gone: its address is in quarantine or reused.
    Released,
}

/// A workload as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkloadState {
    placed: Option<WorkloadPlaced>,
    phase: Phase,
}

impl WorkloadState {
    /// Gives a workload its node and its address.
    pub fn place(placed: WorkloadPlaced) -> EventBody {
        EventBody::WorkloadPlaced(placed)
    }

    /// What it is, whatever became of it.
    pub fn placed(&self) -> Result<&WorkloadPlaced, Refusal> {
        self.placed.as_ref().ok_or(Refusal::NotFound(AggregateKind::Workload))
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Its node has its address live. That makes a starting workload healthy and says nothing of
    /// one whose health is known: what its owner said stands.
    pub fn confirm(&self) -> Result<Option<EventBody>, Refusal> {
        self.placed()?;
        match self.phase {
            Phase::Placed(WorkloadHealth::Starting) => self.report(WorkloadHealth::Healthy),
            _ => Ok(None),
        }
    }

    /// Its owner, or its node, says how it is; nothing to do if that is known.
    pub fn report(&self, health: WorkloadHealth) -> Result<Option<EventBody>, Refusal> {
        let placed = self.placed()?;
        match self.phase {
            Phase::Placed(known) if known == health => Ok(None),
            Phase::Placed(_) => Ok(Some(EventBody::WorkloadHealthChanged(WorkloadHealthChanged {
                org_id: placed.org_id,
                environment_id: placed.environment_id,
                network_id: placed.network_id,
                health,
            }))),
            _ => Err(TenancyRefusal::WorkloadWithdrawn.into()),
        }
    }

    /// Starts its leave; nothing to do if it is already leaving or gone.
    pub fn withdraw(&self) -> Result<Option<EventBody>, Refusal> {
        let placed = self.placed()?;
        let here = matches!(self.phase, Phase::Placed(_));
        Ok(here.then_some(EventBody::WorkloadWithdrawn(WorkloadWithdrawn {
            org_id: placed.org_id,
            environment_id: placed.environment_id,
            network_id: placed.network_id,
            node_id: placed.node_id,
        })))
    }

    /// Ends its leave, once all have let go; nothing to do in any other phase.
    pub fn release(&self) -> Result<Option<EventBody>, Refusal> {
        let placed = self.placed()?;
        let leaving = self.phase == Phase::Withdrawn;
        Ok(leaving.then_some(EventBody::WorkloadReleased(WorkloadReleased {
            org_id: placed.org_id,
            environment_id: placed.environment_id,
            network_id: placed.network_id,
            node_id: placed.node_id,
        })))
    }
}

impl Aggregate for WorkloadState {
    const KIND: AggregateKind = AggregateKind::Workload;

    fn apply(&mut self, event: &EventBody) {
        match event {
            EventBody::WorkloadPlaced(placed) => {
                self.placed = Some(placed.clone());
                self.phase = Phase::Placed(WorkloadHealth::Starting);
            }
            EventBody::WorkloadHealthChanged(changed) => {
                self.phase = Phase::Placed(changed.health);
            }
            EventBody::WorkloadWithdrawn(_) => self.phase = Phase::Withdrawn,
            EventBody::WorkloadReleased(_) => self.phase = Phase::Released,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::*, name::DnsLabel};
    use uuid::Uuid;

    fn starting() -> WorkloadState {
        let mut workload = WorkloadState::default();
        workload.apply(&WorkloadState::place(WorkloadPlaced {
            org_id: OrgId(Uuid::from_u128(1)),
            environment_id: EnvironmentId(Uuid::from_u128(2)),
            release_id: None,
            process_type: DnsLabel::new("web").expect("label"),
            network_id: NetworkId(Uuid::from_u128(3)),
            node_id: NodeId(Uuid::from_u128(4)),
            address: "fd00::2".parse().expect("address"),
        }));
        workload
    }

    /// The phase after the command, or the code of its refusal.
    fn after(
        mut workload: WorkloadState,
        command: impl Fn(&WorkloadState) -> Result<Option<EventBody>, Refusal>,
    ) -> Result<Phase, &'static str> {
        let event = command(&workload).map_err(|refusal| refusal.code())?;
        if let Some(event) = event {
            workload.apply(&event);
        }
        Ok(workload.phase())
    }

    #[test]
    fn every_phase_has_its_answer_to_every_command() {
        use WorkloadHealth::{Healthy, Starting, Unhealthy};
        let step = |mut workload: WorkloadState, event: Result<Option<EventBody>, Refusal>| {
            workload.apply(&event.expect("allowed").expect("an event"));
            workload
        };
        let starting = starting();
        let healthy = step(starting.clone(), starting.report(Healthy));
        let unhealthy = step(starting.clone(), starting.report(Unhealthy));
        let withdrawn = step(healthy.clone(), healthy.withdraw());
        let released = step(withdrawn.clone(), withdrawn.release());
        let unknown = WorkloadState::default();
        let placed = |health| Ok(Phase::Placed(health));
        let gone = Err("workload-withdrawn");
        // confirm, report healthy, report unhealthy, withdraw, release
        for (workload, expected) in [
            (&unknown, [Err("not-found"); 5]),
            (
                &starting,
                [
                    placed(Healthy),
                    placed(Healthy),
                    placed(Unhealthy),
                    Ok(Phase::Withdrawn),
                    placed(Starting),
                ],
            ),
            (
                &healthy,
                [
                    placed(Healthy),
                    placed(Healthy),
                    placed(Unhealthy),
                    Ok(Phase::Withdrawn),
                    placed(Healthy),
                ],
            ),
            (
                &unhealthy,
                [
                    placed(Unhealthy),
                    placed(Healthy),
                    placed(Unhealthy),
                    Ok(Phase::Withdrawn),
                    placed(Unhealthy),
                ],
            ),
            (
                &withdrawn,
                [Ok(Phase::Withdrawn), gone, gone, Ok(Phase::Withdrawn), Ok(Phase::Released)],
            ),
            (
                &released,
                [Ok(Phase::Released), gone, gone, Ok(Phase::Released), Ok(Phase::Released)],
            ),
        ] {
            let answers = [
                after(workload.clone(), WorkloadState::confirm),
                after(workload.clone(), |workload| workload.report(Healthy)),
                after(workload.clone(), |workload| workload.report(Unhealthy)),
                after(workload.clone(), WorkloadState::withdraw),
                after(workload.clone(), WorkloadState::release),
            ];
            assert_eq!(answers, expected, "{:?}", workload.phase());
        }
    }
}
