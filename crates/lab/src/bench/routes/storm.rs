//! Many changes of routes while there is traffic.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sextant_api::{
    Client,
    client::Tagged,
    resource::route::{Route, RoutePatch},
};
use sextant_model::EnvironmentId;

use super::{
    Bench, LIMIT,
    fill::{self, Hostnames, WORKERS},
};
use crate::{
    control_plane::PLATFORM_DOMAIN,
    error::Result,
    operator::Operator,
    serve::{ECHO_PORT, OTHER_ECHO_PORT},
    tenant::tls_route,
    traffic::{Service, Tally, Traffic, TrafficPlan, Visit},
};

/// New connections per second meanwhile.
const RATE: u32 = 400;
/// Connections held to each visited name through each edge.
const HELD_EACH: u32 = 5;
/// Names that are visited, and whose routes are changed too.
const VISITED: u32 = 10;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Storm {
    pub(super) changes: u32,
    pub(super) took: Duration,
    pub(super) tally: Tally,
}

impl Bench {
    /// Changes routes as fast as the control plane goes while clients go on.
    pub(super) fn storm(&self, hostnames: &Hostnames) -> Result<Storm> {
        let client = Operator::of(self.lab.description())?.client().clone();
        let visited = self.runtime.block_on(visited(&client, hostnames.environments()))?;
        self.lab.await_edges(&self.operator, LIMIT)?;
        let traffic = Traffic::start(self.lab.description(), &self.traffic())?;
        let begin = Instant::now();
        let left = Arc::new(AtomicU32::new(self.options.storm));
        let environments = hostnames.environments().to_vec();
        let interrupt = self.lab.interrupt.clone();
        self.runtime.block_on(async {
            let mut workers = tokio::task::JoinSet::new();
            workers.spawn(change_visited(client.clone(), visited, left.clone()));
            for (number, environment) in (0..WORKERS).zip(environments).skip(1) {
                let (client, left) = (client.clone(), left.clone());
                workers.spawn(come_and_go(client, environment, number, left));
            }
            while let Some(ended) = workers.join_next().await {
                interrupt.check()?;
                ended.map_err(|error| fill::failed(error.to_string()))??;
            }
            Ok(())
        })?;
        let took = begin.elapsed();
        self.lab.await_edges(&self.operator, LIMIT)?;
        let storm = Storm { changes: self.options.storm, took, tally: traffic.finish()? };
        self.lab.progress.say(format_args!(
            "{} changes in {:.1} s: {}",
            storm.changes,
            took.as_secs_f64(),
            storm.tally
        ));
        Ok(storm)
    }

    fn traffic(&self) -> TrafficPlan {
        let edges: Vec<_> = self.lab.edge_addresses();
        let visits: Vec<Visit> = (0..VISITED)
            .flat_map(|number| {
                edges.iter().map(move |(_, address)| Visit {
                    address: ((*address), 443).into(),
                    name: visited_name(number),
                    service: Service::Echo,
                })
            })
            .collect();
        TrafficPlan {
            targets: visits.clone(),
            per_second: RATE,
            held: visits,
            held_each: HELD_EACH,
        }
    }
}

fn visited_name(number: u32) -> String {
    format!("visited-{number}.{PLATFORM_DOMAIN}")
}

async fn visited(client: &Client, environments: &[EnvironmentId]) -> Result<Vec<Tagged<Route>>> {
    let mut routes = Vec::new();
    for number in 0..VISITED {
        let new = tls_route(&visited_name(number), ECHO_PORT)?;
        routes.push(fill::create(client, environments[0], &new).await?);
    }
    Ok(routes)
}

/// Takes the right to make one more change.
fn take(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// The routes that are visited lead to one port and to another.
async fn change_visited(
    client: Client,
    mut routes: Vec<Tagged<Route>>,
    left: Arc<AtomicU32>,
) -> Result<()> {
    loop {
        for route in &mut routes {
            if !take(&left) {
                return Ok(());
            }
            *route = patched(&client, route).await?;
        }
    }
}

/// Routes come, change and go.
async fn come_and_go(
    client: Client,
    environment: EnvironmentId,
    worker: u32,
    left: Arc<AtomicU32>,
) -> Result<()> {
    for number in 0.. {
        if !take(&left) {
            break;
        }
        let name = format!("storm-{worker}-{number}.{PLATFORM_DOMAIN}");
        let mut route = fill::create(&client, environment, &tls_route(&name, ECHO_PORT)?).await?;
        if take(&left) {
            route = patched(&client, &route).await?;
        }
        if take(&left) {
            let deleted = client.delete_route(route.value.id, None).await;
            deleted.map_err(|error| fill::failed(error.to_string()))?;
        }
    }
    Ok(())
}

async fn patched(client: &Client, route: &Tagged<Route>) -> Result<Tagged<Route>> {
    let other = if route.value.backend_port == ECHO_PORT { OTHER_ECHO_PORT } else { ECHO_PORT };
    let patch = RoutePatch { backend_port: Some(other), ..RoutePatch::default() };
    let etag = route.etag.as_deref().unwrap_or("*");
    let changed = client.patch_route(route.value.id, &patch, etag).await;
    changed.map_err(|error| fill::failed(error.to_string()))
}
