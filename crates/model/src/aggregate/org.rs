//! Orgs: created, deleted when empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, Refusal, TenancyRefusal},
    event::{AggregateKind, EventBody, OrgCreated, OrgDeleted, OrgQuotasSet},
    name::DnsLabel,
    quota::Quota,
};

/// An org as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OrgState {
    created: Option<OrgCreated>,
    deleted: bool,
    limits: BTreeMap<String, u64>,
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

    /// Its own limit of `quota`, if an operator of the platform has given it one.
    pub fn limit(&self, quota: Quota) -> Option<u64> {
        self.limits.get(quota.as_str()).copied()
    }

    /// Gives it these limits and no others; nothing to do if they hold already.
    pub fn set_limits(&self, limits: &BTreeMap<Quota, u64>) -> Result<Option<EventBody>, Refusal> {
        self.live()?;
        let limits: BTreeMap<_, _> =
            limits.iter().map(|(quota, limit)| (quota.as_str().to_owned(), *limit)).collect();
        let changed = limits != self.limits;
        Ok(changed.then_some(EventBody::OrgQuotasSet(OrgQuotasSet { limits })))
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
            EventBody::OrgQuotasSet(set) => self.limits.clone_from(&set.limits),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_has_the_limits_that_were_set_last_and_no_others() {
        let mut org = OrgState::default();
        let limits = BTreeMap::from([(Quota::Routes, 5)]);
        assert_eq!(org.set_limits(&limits), Err(Refusal::NotFound(AggregateKind::Org)));
        org.apply(&OrgState::create(DnsLabel::new("acme").expect("label")));
        org.apply(&org.set_limits(&limits).expect("set").expect("changed"));
        assert_eq!((org.limit(Quota::Routes), org.limit(Quota::Apps)), (Some(5), None));
        assert_eq!(org.set_limits(&limits), Ok(None));
        org.apply(&org.set_limits(&BTreeMap::new()).expect("set").expect("changed"));
        assert_eq!(org.limit(Quota::Routes), None);
    }

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
