//! Reading the projections. Lists come in order of creation, a page at a time.

mod api_tokens;
mod boundary;
mod edges;
mod enrolment_tokens;
mod hostnames;
mod networks;
mod nodes;
mod orgs;
mod ports;
mod releases;
mod routes;
mod routing;
mod snapshot;
mod workloads;

use serde::{Serialize, de::DeserializeOwned};
use sextant_api::page::Page;
use uuid::Uuid;

use crate::error::StoreError;

pub use {
    api_tokens::ApiTokenCredentials, hostnames::HostnamePage, nodes::NodeAccess, nodes::ReportRow,
    routes::RouteFilter, routing::Candidates, workloads::WorkloadFilter,
};

/// Which part of a list.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// Id of the last item of the page before.
    pub after: Option<Uuid>,
    /// Most items.
    pub limit: u32,
}

impl PageRequest {
    /// The lowest id to leave out; ids are version 7, so nil comes before all.
    fn after(self) -> Uuid {
        self.after.unwrap_or_else(Uuid::nil)
    }

    /// One more than asked for tells whether there is another page.
    fn fetch(self) -> i64 {
        i64::from(self.limit) + 1
    }

    fn page<T>(self, mut items: Vec<T>, id: impl Fn(&T) -> Uuid) -> Page<T> {
        let more = items.len() > self.limit as usize;
        items.truncate(self.limit as usize);
        let next_after = items.last().filter(|_| more).map(|item| id(item).to_string());
        Page { items, next_after }
    }
}

/// A unit enum as the word serde writes.
pub(crate) fn word<T: Serialize>(value: &T) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        other => Err(StoreError::Inconsistent {
            table: "projection",
            reason: format!("{other:?} is not one word"),
        }),
    }
}

/// Reads a column through the type's own serde form.
pub(crate) fn column<T: DeserializeOwned>(
    table: &'static str,
    text: impl Into<String>,
) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text.into()))
        .map_err(|error| StoreError::Inconsistent { table, reason: error.to_string() })
}

pub(crate) fn columns<T: DeserializeOwned>(
    table: &'static str,
    texts: Vec<String>,
) -> Result<Vec<T>, StoreError> {
    texts.into_iter().map(|text| column(table, text)).collect()
}
