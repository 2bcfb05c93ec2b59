//! A platform with edges, and a tenant.

use std::{
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    ops::ControlFlow,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use sextant_api::resource::{
    environment::Environment,
    route::{NewRoute, Route},
    workload::{Workload, WorkloadStatus},
};
use sextant_lab::{
    Lab, LabDescription, Programs, Progress, ScratchDirectory, Size,
    control_plane::PLATFORM_DOMAIN,
    interrupt::Interrupt,
    operator::Operator,
    serve::Answer,
    tenant::tls_route,
    traffic::{Service, Traffic, TrafficPlan, Visit},
    visitor,
    wait::until,
};

pub const LIMIT: Duration = Duration::from_secs(60);
const HTTPS: u16 = 443;

pub struct Site {
    pub lab: Lab,
    pub operator: Operator,
    pub environment: Environment,
    // Takes the lab down, so it goes last.
    _place: ScratchDirectory,
}

/// A program in the namespaces of a host, for as long as the value lives.
pub struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.expect("the program starts"))
    }
}

impl Site {
    /// Two edges and so many nodes for workloads.
    pub fn new(nodes: u16) -> Self {
        let place = ScratchDirectory::new().expect("make");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_sextant-lab"));
        let programs = Programs::in_directory(program.parent().expect("a directory"));
        let size = Size { nodes, replicas: 2 };
        let (interrupt, progress) = (Interrupt::never(), Progress::start());
        let lab = Lab::up_with_edges(place.directory(), programs, size, 2, interrupt, progress)
            .expect("the lab comes up");
        let operator = Operator::of(lab.description()).expect("operator");
        let environment = operator.create_environment("shop/web/prod").expect("an environment");
        Self { lab, operator, environment, _place: place }
    }

    pub fn description(&self) -> &LabDescription {
        self.lab.description()
    }

    /// Deploys and waits until all are healthy and the edges know.
    pub fn deploy(&self, processes: &[(&str, u16)]) -> Vec<Workload> {
        let release = self.operator.deploy(self.environment.id, processes).expect("deploy");
        let live = self.operator.await_live(release.id, LIMIT, self.lab.interrupt());
        self.lab.await_edges(&self.operator, LIMIT).expect("the edges know");
        live.expect("live").workloads
    }

    /// Registers one and waits until it is healthy.
    pub fn workload(&self) -> Workload {
        let made = self.operator.register_workload(self.environment.id, "web").expect("register");
        until("the workload to be healthy", LIMIT, &Interrupt::never(), || {
            let all = self.operator.workloads()?;
            let found = all.into_iter().find(|it| it.id == made.id);
            Ok(match found {
                Some(found) if found.status == WorkloadStatus::Healthy => ControlFlow::Break(found),
                other => ControlFlow::Continue(format!("{other:?}")),
            })
        })
        .expect("healthy")
    }

    /// Makes a route and waits until the edges know.
    pub fn route(&self, new: &NewRoute) -> Route {
        let route = self.operator.create_route(self.environment.id, new).expect("a route");
        self.lab.await_edges(&self.operator, LIMIT).expect("the edges know");
        route
    }

    /// A route by name for TLS.
    pub fn tls_route(&self, label: &str, port: u16) -> String {
        let name = name(label);
        self.route(&tls_route(&name, port).expect("a name"));
        name
    }

    pub fn edges(&self) -> Vec<(String, Ipv6Addr)> {
        self.lab.edge_addresses()
    }

    pub fn get(&self, edge: Ipv6Addr, name: &str) -> sextant_lab::Result<Answer> {
        visitor::get(self.description(), edge, name)
    }

    /// Visits through these edges: HTTPS by `https`, held connections by `echo`.
    pub fn traffic(&self, edges: &[Ipv6Addr], https: &str, echo: Option<&str>) -> Traffic {
        let visits = |name: &str, service| {
            let visit = |edge: &Ipv6Addr| Visit {
                address: SocketAddr::new((*edge).into(), HTTPS),
                name: name.to_owned(),
                service,
            };
            edges.iter().map(visit).collect()
        };
        let plan = TrafficPlan {
            targets: visits(https, Service::Https),
            per_second: 40,
            held: echo.map(|name| visits(name, Service::Echo)).unwrap_or_default(),
            held_each: 5,
        };
        Traffic::start(self.description(), &plan).expect("traffic")
    }
}

pub fn name(label: &str) -> String {
    format!("{label}.{PLATFORM_DOMAIN}")
}

pub fn https(address: Ipv6Addr) -> SocketAddrV6 {
    SocketAddrV6::new(address, HTTPS, 0, 0)
}

/// Looks until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, LIMIT, &Interrupt::never(), || {
        Ok(if holds() { ControlFlow::Break(()) } else { ControlFlow::Continue(String::new()) })
    })
    .unwrap_or_else(|error| panic!("{error}"));
}
