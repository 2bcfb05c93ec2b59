//! How much there is: environments, workloads, routes, edges.

use std::fmt;

use serde::Serialize;
use sextant_api::{
    Client, Page,
    client::{EnvironmentQuery, PageQuery, RouteQuery, WorkloadQuery},
    page::MAX_LIMIT,
    resource::{
        edge::Edge,
        workload::{Workload, WorkloadStatus},
    },
};

use crate::{edge_health, exit::Failure};

/// How much of each kind there is.
#[derive(Debug, Default, Serialize)]
pub struct Counts {
    /// Environments.
    pub environments: Count,
    /// Workloads that have not been released, and how many of them are healthy.
    pub workloads: Workloads,
    /// Routes.
    pub routes: Count,
    /// Edges, and whether they serve the same.
    pub edges: Edges,
}

/// How many are on the first page: a platform may be too large to count all at every look.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Count {
    count: usize,
    /// There are more than that.
    more: bool,
}

/// Workloads and how they are.
#[derive(Debug, Default, Serialize)]
pub struct Workloads {
    #[serde(flatten)]
    all: Count,
    healthy: usize,
}

/// Edges and how they are.
#[derive(Debug, Default, Serialize)]
pub struct Edges {
    #[serde(flatten)]
    all: Count,
    /// Why they do not serve the same.
    complaints: Vec<String>,
}

impl Counts {
    /// Asks for one page of each.
    pub async fn of(client: &Client) -> Result<Self, Failure> {
        let page = PageQuery { after: None, limit: Some(MAX_LIMIT) };
        let environments = EnvironmentQuery { page: page.clone(), ..EnvironmentQuery::default() };
        let workloads = WorkloadQuery { page: page.clone(), ..WorkloadQuery::default() };
        let routes = RouteQuery { page: page.clone(), ..RouteQuery::default() };
        let (environments, workloads, routes, edges) = tokio::try_join!(
            client.environments(&environments),
            client.workloads(&workloads),
            client.routes(&routes),
            client.edges(&page),
        )?;
        Ok(Self {
            environments: Count::of(&environments),
            workloads: Workloads::of(&workloads),
            routes: Count::of(&routes),
            edges: Edges::of(&edges),
        })
    }
}

impl Count {
    fn of<T>(page: &Page<T>) -> Self {
        Self { count: page.items.len(), more: page.next_after.is_some() }
    }
}

impl Workloads {
    fn of(page: &Page<Workload>) -> Self {
        let healthy = page.items.iter().filter(|one| one.status == WorkloadStatus::Healthy);
        Self { all: Count::of(page), healthy: healthy.count() }
    }
}

impl Edges {
    fn of(page: &Page<Edge>) -> Self {
        Self { all: Count::of(page), complaints: edge_health::complaints(&page.items) }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.more { " or more" } else { "" };
        write!(f, "{}{more}", self.count)
    }
}

impl fmt::Display for Workloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.all {
            Count { count: 0, .. } => f.write_str("0"),
            Count { count, more: true } => {
                write!(f, "{}, {} healthy of the first {count}", self.all, self.healthy)
            }
            Count { more: false, .. } => write!(f, "{}, {} healthy", self.all, self.healthy),
        }
    }
}

impl fmt::Display for Edges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.all.count, self.complaints.as_slice()) {
            (0, _) => f.write_str("0"),
            (1, []) => write!(f, "{}, serves the newest routes", self.all),
            (_, []) => write!(f, "{}, all serve the same, newest routes", self.all),
            (_, complaints) => write!(f, "{}: {}", self.all, complaints.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::release::tests::workload;

    #[test]
    fn what_is_not_counted_to_the_end_says_so() {
        let page = |next_after| Page {
            items: vec![
                workload(1, "web", WorkloadStatus::Healthy),
                workload(2, "web", WorkloadStatus::Starting),
            ],
            next_after,
        };
        assert_eq!(Workloads::of(&page(None)).to_string(), "2, 1 healthy");
        let more = Workloads::of(&page(Some("x".into())));
        assert_eq!(more.to_string(), "2 or more, 1 healthy of the first 2");
        assert_eq!(
            serde_json::to_value(more).expect("JSON"),
            serde_json::json!({ "count": 2, "more": true, "healthy": 1 })
        );
        assert_eq!(Workloads::default().to_string(), "0");
        assert_eq!(Edges::default().to_string(), "0");
    }
}
