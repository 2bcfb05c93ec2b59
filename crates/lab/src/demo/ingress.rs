//! The steps about ingress: from a name to the process that answers for it.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, SocketAddrV6},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use sextant_api::resource::{environment::Environment, hostname::HostnameMove, route::Route};
use sextant_model::HostPattern;

use super::{
    DemoError,
    steps::{LIMIT, Step, hold, pause},
    transcript::Transcript,
};
use crate::{
    control_plane::PLATFORM_DOMAIN,
    lab::{Lab, Target},
    operator::Operator,
    serve::{Answer, ECHO_PORT, TLS_PORT},
    tenant::tls_route,
    traffic::{Service, Traffic, TrafficPlan, Visit},
    visitor,
    wait::until,
    workload,
};

/// New connections per second while something is changed.
const RATE: u32 = 40;
/// Connections that are held through each edge meanwhile.
const HELD: u32 = 5;
/// How long traffic goes on with nothing changed.
const CALM: Duration = Duration::from_secs(2);
const HTTPS: u16 = 443;

/// What the tenant of the demo has.
pub(super) struct Shop {
    environment: Environment,
    route: Route,
    name: String,
    echo: String,
}

/// An environment, two workloads, and what they are.
pub(super) fn tenant(lab: &Lab, transcript: &mut Transcript) -> Step<Shop> {
    transcript.heading("A tenant deploys");
    transcript.explain(
        "An org, an app and an environment, and two instances of the process type `web`. Each is a \
         workload with an IPv6 address of its own, from the prefix of the node it runs on; the \
         agent makes the address live. TLS servers answer there, with certificates of their own.",
    );
    let operator = Operator::of(lab.description())?;
    let environment = operator.create_environment("shop/web/prod")?;
    let start = Instant::now();
    let release = operator.deploy(environment.id, &[("web", 2)])?;
    operator.await_live(release.id, LIMIT, lab.interrupt())?;
    let took = start.elapsed().as_millis();
    transcript.table(&workload::table(&operator.workloads()?));
    transcript.seen(&format!("both were healthy {took} ms after the deploy was asked for"));

    let name = format!("shop.{PLATFORM_DOMAIN}");
    let route = operator.create_route(environment.id, &tls_route(&name, TLS_PORT)?)?;
    let echo = format!("echo.{PLATFORM_DOMAIN}");
    operator.create_route(environment.id, &tls_route(&echo, ECHO_PORT)?)?;
    lab.await_edges(&operator, LIMIT)?;
    transcript.seen(&format!("routes: {name}:443 to web:{TLS_PORT}, {echo}:443 to an echo"));
    Ok(Shop { environment, route, name, echo })
}

/// The name is answered through every edge, with the workload's own certificate.
pub(super) fn by_name(lab: &Lab, shop: &Shop, transcript: &mut Transcript) -> Step {
    transcript.heading("From outside, by name, through both edges");
    transcript.explain(
        "The host `client` has a cable and no WireGuard. It asks with curl, and looks at the \
         certificate with `openssl s_client`. The edges pass TLS on as it is, so the certificate \
         must be the one that the workload wrote down on its own node.",
    );
    let description = lab.description();
    let client = description.client_host()?;
    let mut rows =
        vec![["EDGE", "ANSWERED BY", "ON", "CERTIFICATE SEEN"].map(str::to_owned).to_vec()];
    for (edge, address) in lab.edge_addresses() {
        let answer = visitor::get(description, address, &shop.name)?;
        let at = SocketAddrV6::new(address, HTTPS, 0, 0);
        let seen = visitor::certificate(description, &client, at, &shop.name)?;
        hold(workload_certificates(lab, &shop.name)?.contains(&seen), "it is a workload's own")?;
        rows.push(vec![edge, answer.workload.to_string(), answer.node, seen[..29].to_owned()]);
    }
    transcript.table(&rows);
    transcript.seen("each is, byte by byte, a certificate that a workload made");
    let workload = description.nodes.iter().find_map(|node| node.overlay);
    if let Some(overlay) = workload {
        let mut ping = client.command(&description.lab_id, "ping");
        let answered = ping.args(["-6", "-c", "1", "-W", "1", &overlay.to_string()]).output();
        let answered = answered.is_ok_and(|output| output.status.success());
        hold(!answered, "the client cannot reach the mesh itself")?;
        transcript.seen("the client cannot reach the mesh itself");
    }
    for words in [&["route", "explain", &shop.name][..], &["edge", "status"]] {
        transcript.say(&format!("\n   $ sextant {}", words.join(" ")));
        for line in visitor::sextant(description, words)?.lines() {
            transcript.say(&format!("     {line}"));
        }
    }
    Ok(())
}

/// The fingerprints of all certificates for `name` that workloads made.
fn workload_certificates(lab: &Lab, name: &str) -> Step<BTreeSet<String>> {
    let description = lab.description();
    let workloads = Operator::of(description)?.workloads()?;
    let files = workloads.iter().filter_map(|it| description.certificate_file(it.address, name));
    let made = files.filter(|file| file.exists());
    Ok(made.map(|file| visitor::file_fingerprint(&file)).collect::<Result<_, _>>()?)
}

/// Control plane and database are killed; an edge too, and comes back with nothing to ask.
pub(super) fn without_control_plane(
    lab: &mut Lab,
    shop: &Shop,
    transcript: &mut Transcript,
) -> Step {
    transcript.heading("The control plane is killed, and an edge");
    let edges = lab.edge_addresses();
    let (victim, other) = (edges[0].0.clone(), edges[1].0.clone());
    transcript.explain(&format!(
        "Clients go on through {other}. Both replicas and Postgres are killed (SIGKILL), then the \
         edge on {victim}, which is started again: it has nothing but its own saved state."
    ));
    let traffic = Traffic::start(lab.description(), &plan(lab, shop, &[other.as_str()])?)?;
    let replicas: Vec<_> =
        lab.description().replicas.iter().map(|replica| replica.name.clone()).collect();
    for replica in &replicas {
        lab.kill(&Target::Host(replica.clone()))?;
    }
    lab.kill(&Target::Postgres)?;
    transcript.seen("no replica and no database is running");
    let edge = Target::Edge(victim.clone());
    lab.kill(&edge)?;
    let start = Instant::now();
    lab.start(&edge)?;
    await_answer(lab, &victim, &shop.name, |_| true)?;
    let took = start.elapsed().as_millis();
    transcript.seen(&format!("{victim} answers again {took} ms after its start"));
    let restarted = Traffic::start(lab.description(), &plan(lab, shop, &[victim.as_str()])?)?;
    pause(lab, CALM)?;
    settle(restarted, &format!("through {victim}, restarted"), transcript)?;
    settle(traffic, &format!("through {other}, all the time"), transcript)?;
    lab.start(&Target::Postgres)?;
    for replica in replicas {
        lab.start(&Target::Host(replica))?;
    }
    let operator = Operator::of(lab.description())?;
    lab.await_edges(&operator, LIMIT)?;
    transcript.seen("Postgres and the replicas are back, and both edges serve the newest routes");
    Ok(())
}

/// A name moves to another environment while it is being visited.
pub(super) fn name_moved(lab: &Lab, shop: &Shop, transcript: &mut Transcript) -> Step {
    transcript.heading("A hostname moves");
    transcript.explain(
        "The environment `shop/web/next` takes the name over from `shop/web/prod`, and with it the \
         route: one change. Connections that are held stay where they are.",
    );
    let operator = Operator::of(lab.description())?;
    let next = operator.create_sibling(&shop.environment, "next")?;
    let release = operator.deploy(next.id, &[("web", 1)])?;
    let release = operator.await_live(release.id, LIMIT, lab.interrupt())?;
    let workloads: Vec<_> = release.workloads.iter().map(|it| it.address).collect();
    lab.await_edges(&operator, LIMIT)?;
    let edges: Vec<_> = lab.edge_addresses().into_iter().map(|(name, _)| name).collect();
    let all: Vec<&str> = edges.iter().map(String::as_str).collect();
    let traffic = Traffic::start(lab.description(), &plan(lab, shop, &all)?)?;
    pause(lab, CALM / 4)?;
    let name: HostPattern = shop.name.parse().map_err(|_| not_a_name(&shop.name))?;
    let to = HostnameMove { to_environment_id: next.id };
    let start = Instant::now();
    let moved = operator.client().move_hostname(shop.environment.id, &name, &to, None);
    let moved = operator.ask("move a hostname", moved)?;
    hold(moved.routes == [shop.route.id], "the route moves with its name")?;
    let answered = start.elapsed();
    for edge in &edges {
        await_answer(lab, edge, &shop.name, |answer| workloads.contains(&answer.workload))?;
    }
    transcript.seen(&format!(
        "moved in {} ms; the new environment answered through both edges at most {} ms after \
         the answer",
        answered.as_millis(),
        (start.elapsed().saturating_sub(answered)).as_millis()
    ));
    pause(lab, CALM / 4)?;
    settle(traffic, "through both edges", transcript)?;
    let back = HostnameMove { to_environment_id: shop.environment.id };
    let moved = operator.client().move_hostname(next.id, &name, &back, None);
    operator.ask("move a hostname", moved)?;
    Ok(())
}

/// A second deploy replaces the first one under load.
pub(super) fn rollover(lab: &Lab, shop: &Shop, transcript: &mut Transcript) -> Step {
    transcript.heading("A second deploy");
    transcript.explain(
        "Three new workloads take the place of the two old ones: once all are healthy they go \
         live, and the old ones are withdrawn. Clients go on through both edges.",
    );
    let operator = Operator::of(lab.description())?;
    let edges: Vec<_> = lab.edge_addresses().into_iter().map(|(name, _)| name).collect();
    let all: Vec<&str> = edges.iter().map(String::as_str).collect();
    let mut plan = plan(lab, shop, &all)?;
    // The workloads that hold them go away.
    plan.held_each = 0;
    let traffic = Traffic::start(lab.description(), &plan)?;
    pause(lab, CALM / 2)?;
    let start = Instant::now();
    let release = operator.deploy(shop.environment.id, &[("web", 3)])?;
    let release = operator.await_live(release.id, LIMIT, lab.interrupt())?;
    let took = start.elapsed().as_millis();
    let new: BTreeSet<_> = release.workloads.iter().map(|it| it.address).collect();
    for edge in &edges {
        await_answer(lab, edge, &shop.name, |answer| new.contains(&answer.workload))?;
    }
    transcript.seen(&format!("release {} was live after {took} ms", release.number));
    pause(lab, CALM / 2)?;
    settle(traffic, "through both edges", transcript)
}

fn plan(lab: &Lab, shop: &Shop, edges: &[&str]) -> Step<TrafficPlan> {
    let visits = |name: &str, service| {
        edges
            .iter()
            .map(|edge| {
                let address = lab.description().edge(edge)?.underlay;
                let address = SocketAddr::new(address.into(), HTTPS);
                Ok(Visit { address, name: name.to_owned(), service })
            })
            .collect::<Step<Vec<_>>>()
    };
    Ok(TrafficPlan {
        targets: visits(&shop.name, Service::Https)?,
        per_second: RATE,
        held: visits(&shop.echo, Service::Echo)?,
        held_each: HELD,
    })
}

fn settle(traffic: Traffic, where_from: &str, transcript: &mut Transcript) -> Step {
    let tally = traffic.finish()?;
    transcript.seen(&format!("{where_from}: {tally}"));
    hold(tally.is_good(), "no connection fails")
}

/// Waits until a name is answered through an edge by the right one.
fn await_answer(
    lab: &Lab,
    edge: &str,
    name: &str,
    is_right: impl Fn(&Answer) -> bool,
) -> Step<Answer> {
    let address = lab.description().edge(edge)?.underlay;
    let what = format!("an answer through {edge}");
    Ok(until(&what, LIMIT, lab.interrupt(), || {
        Ok(match visitor::get(lab.description(), address, name) {
            Ok(answer) if is_right(&answer) => ControlFlow::Break(answer),
            Ok(answer) => ControlFlow::Continue(format!("{} answers", answer.workload)),
            Err(error) => ControlFlow::Continue(error.to_string()),
        })
    })?)
}

fn not_a_name(text: &str) -> DemoError {
    DemoError::NotHeld(format!("\"{text}\" is a hostname"))
}
