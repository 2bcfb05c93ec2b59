//! Apps of an org: created, deleted when empty.

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, Refusal, TenancyRefusal},
    event::{AggregateKind, AppCreated, AppDeleted, EventBody},
};

/// An app as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AppState {
    created: Option<AppCreated>,
    deleted: bool,
}

impl AppState {
    /// Creates an app.
    pub fn create(created: AppCreated) -> EventBody {
        EventBody::AppCreated(created)
    }

    /// What the app is, whatever became of it.
    pub fn created(&self) -> Result<&AppCreated, Refusal> {
        self.created.as_ref().ok_or(Refusal::NotFound(AggregateKind::App))
    }

    /// What the app is now.
    pub fn live(&self) -> Result<&AppCreated, Refusal> {
        self.created.as_ref().filter(|_| !self.deleted).ok_or(Refusal::NotFound(AggregateKind::App))
    }

    /// Removes it, if it has no environments.
    pub fn delete(&self, environments: u64) -> Result<EventBody, Refusal> {
        let live = self.live()?;
        if environments > 0 {
            return Err(TenancyRefusal::AppInUse(live.name.clone(), environments).into());
        }
        Ok(EventBody::AppDeleted(AppDeleted { org_id: live.org_id }))
    }
}

impl Aggregate for AppState {
    const KIND: AggregateKind = AggregateKind::App;

    fn apply(&mut self, event: &EventBody) {
        match event {
            EventBody::AppCreated(created) => self.created = Some(created.clone()),
            EventBody::AppDeleted(_) => self.deleted = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::OrgId, name::DnsLabel};
    use uuid::Uuid;

    #[test]
    fn an_app_with_environments_stays_and_a_deleted_one_is_gone() {
        let mut app = AppState::default();
        assert_eq!(app.live(), Err(Refusal::NotFound(AggregateKind::App)));
        let (org_id, name) = (OrgId(Uuid::from_u128(1)), DnsLabel::new("web").expect("label"));
        app.apply(&AppState::create(AppCreated { org_id, name }));
        let refused = app.delete(1).expect_err("refused");
        assert_eq!(refused.to_string(), "app \"web\" still has 1 environments; delete them first");
        assert_eq!(refused.code(), "app-in-use");
        let deleted = app.delete(0).expect("empty");
        assert_eq!(deleted, EventBody::AppDeleted(AppDeleted { org_id }));
        app.apply(&deleted);
        assert_eq!(app.delete(0), Err(Refusal::NotFound(AggregateKind::App)));
    }
}
