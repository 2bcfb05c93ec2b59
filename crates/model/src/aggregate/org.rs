//! Orgs: created, deleted when empty.

use crate::{
    aggregate::{Aggregate, Refusal, TenancyRefusal},
    event::{AggregateKind, EventBody, OrgCreated, OrgDeleted},
    name::DnsLabel,
};

/// An org as its events tell it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrgState {
    created: Option<OrgCreated>,
    deleted: bool,
}

impl OrgState {
    /// Creates an org.
    pub fn create(name: DnsLabel) -> EventBody {
        EventBody::OrgCreated(OrgCreated { name })
    }

    /// What the org is, whatever became of it.
    pub fn created(&self) -> Result<&OrgCreated, Refusal> {
        self.created.as_ref().ok_or(Refusal::NotFound(AggregateKind::Org))
    }

    /// What the org is now.
    pub fn live(&self) -> Result<&OrgCreated, Refusal> {
        self.created.as_ref().filter(|_| !self.deleted).ok_or(Refusal::NotFound(AggregateKind::Org))
    }

    /// Removes it, if it has no apps.
    pub fn delete(&self, apps: u64) -> Result<EventBody, Refusal> {
        let live = self.live()?;
        if apps > 0 {
            return Err(TenancyRefusal::OrgInUse(live.name.clone(), apps).into());
        }
        Ok(EventBody::OrgDeleted(OrgDeleted {}))
    }
}

impl Aggregate for OrgState {
    const KIND: AggregateKind = AggregateKind::Org;

    fn apply(&mut self, event: &EventBody) {
        match event {
            EventBody::OrgCreated(created) => self.created = Some(created.clone()),
            EventBody::OrgDeleted(_) => self.deleted = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_with_apps_stays_and_a_deleted_one_is_gone() {
        let mut org = OrgState::default();
        assert_eq!(org.live(), Err(Refusal::NotFound(AggregateKind::Org)));
        org.apply(&OrgState::create(DnsLabel::new("acme").expect("label")));
        let refused = org.delete(2).expect_err("refused");
        assert_eq!(refused.to_string(), "org \"acme\" still has 2 apps; delete them first");
        assert_eq!(refused.code(), "org-in-use");
        org.apply(&org.delete(0).expect("empty"));
        assert_eq!(org.delete(0), Err(Refusal::NotFound(AggregateKind::Org)));
    }
}
