//! Hostnames, many of them, through the API.

use std::{sync::Arc, time::Duration};

use sextant_api::{
    Client,
    client::Tagged,
    resource::{
        environment::{Environment, NewEnvironment},
        route::{NewRoute, Route},
        workload::NewWorkload,
    },
};
use sextant_model::{DnsLabel, EnvironmentId};

use crate::{
    control_plane::PLATFORM_DOMAIN,
    error::{LabError, Result},
    interrupt::Interrupt,
    progress::Progress,
    serve::ECHO_PORT,
    tenant::tls_route,
};

/// Hostnames of one environment.
pub(super) const PER_ENVIRONMENT: u32 = 100;
/// Requests under way, each of another environment.
pub(super) const WORKERS: u32 = 32;
/// Between two lines about how far it is.
const NEWS: u32 = 10_000;

/// Hostnames with a route each, numbered; one after the other goes to the next environment.
#[derive(Debug)]
pub(super) struct Hostnames {
    environments: Vec<EnvironmentId>,
    count: u32,
}

/// How long it took to make them.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    pub(super) routes: u32,
    pub(super) took: Duration,
    /// After that, until every edge said that it serves all.
    pub(super) behind: Duration,
}

impl Hostnames {
    pub(super) fn new(environments: Vec<EnvironmentId>) -> Self {
        Self { environments, count: 0 }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn environments(&self) -> &[EnvironmentId] {
        &self.environments
    }

    /// Some of them, evenly from all.
    pub(super) fn names(&self, most: usize) -> Vec<String> {
        let step = (self.count as usize / most).max(1);
        (0..self.count).step_by(step).take(most).map(hostname).collect()
    }

    pub(super) async fn fill(
        &mut self,
        client: &Client,
        total: u32,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<()> {
        let environments: Arc<[EnvironmentId]> = self.environments.clone().into();
        let first = self.count;
        let mut workers = tokio::task::JoinSet::new();
        for worker in 0..WORKERS {
            let (client, environments) = (client.clone(), environments.clone());
            let (interrupt, progress) = (interrupt.clone(), progress.clone());
            workers.spawn(async move {
                let whole = u32::try_from(environments.len()).unwrap_or(u32::MAX);
                // A worker has environments of its own: two changes of one would conflict.
                for number in (first..total).filter(|n| n % whole % WORKERS == worker) {
                    interrupt.check()?;
                    let environment = environments[(number % whole) as usize];
                    create(&client, environment, &tls_route(&hostname(number), ECHO_PORT)?).await?;
                    if number % NEWS == 0 && number > first {
                        progress.say(format_args!("about {number} hostnames"));
                    }
                }
                Ok(())
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|error| failed(error.to_string()))??;
        }
        self.count = total;
        Ok(())
    }
}

/// Makes environments of the same app, each with one workload to lead to.
pub(super) async fn environments(
    client: &Client,
    beside: &Environment,
    count: u32,
    interrupt: &Interrupt,
) -> Result<Vec<EnvironmentId>> {
    let label = |text: &str| text.parse().map_err(|error| failed(format!("{text}: {error}")));
    let workload = NewWorkload { process_type: label("web")?, node_id: None };
    let (app_id, network_id) = (beside.app_id, Some(beside.network_id));
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let (client, workload, interrupt) = (client.clone(), workload.clone(), interrupt.clone());
        let names: Vec<DnsLabel> = (0..count)
            .filter(|number| number % WORKERS == worker)
            .map(|number| label(&format!("e{number}")))
            .collect::<Result<_>>()?;
        workers.spawn(async move {
            let mut made = Vec::new();
            for name in names {
                interrupt.check()?;
                let new = NewEnvironment { app_id, name, network_id };
                let environment = client.create_environment(&new, None).await;
                let environment = environment.map_err(|error| failed(error.to_string()))?.value.id;
                let placed = client.register_workload(environment, &workload, None).await;
                placed.map_err(|error| failed(error.to_string()))?;
                made.push(environment);
            }
            Ok(made)
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = workers.join_next().await {
        all.extend(ended.map_err(|error| failed(error.to_string()))??);
    }
    Ok(all)
}

/// Makes a route.
pub(super) async fn create(
    client: &Client,
    environment: EnvironmentId,
    new: &NewRoute,
) -> Result<Tagged<Route>> {
    let made = client.create_route(environment, new, None).await;
    made.map_err(|error| failed(error.to_string()))
}

pub(super) fn failed(reason: String) -> LabError {
    LabError::ControlPlane { action: "change a route".to_owned(), reason }
}

pub(super) fn hostname(number: u32) -> String {
    format!("h{number}.{PLATFORM_DOMAIN}")
}
