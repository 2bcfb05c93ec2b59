//! The last version that has landed beside this one: replicas, agents and edges of both on one
//! database with this version's schema. `cargo xtask previous` builds the other one.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sextant_api::resource::{environment::Environment, workload::WorkloadStatus};
use sextant_lab::{
    Lab, Programs, Progress, ScratchDirectory, Size, Target,
    interrupt::Interrupt,
    operator::Operator,
    ping::{ContinuousPing, ping_all},
    postgres,
    serve::TLS_PORT,
    tenant::tls_route,
    visitor,
    wait::until,
};

const LIMIT: Duration = Duration::from_secs(120);

fn this_version() -> Programs {
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_sextant-lab"));
    Programs::in_directory(lab.parent().expect("a directory"))
}

/// The other version's daemons. `None` in a shallow clone, which cannot have them.
fn previous_version() -> Option<Programs> {
    let debug = this_version().directory().to_owned();
    let programs = debug.parent().expect("target").join("previous/bin");
    if programs.join("commit").is_file() {
        return Some(this_version().with_daemons(programs));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut git = Command::new("git");
    let shallow = git.current_dir(root).args(["rev-parse", "--is-shallow-repository"]).output();
    let shallow = shallow.is_ok_and(|output| output.stdout.trim_ascii() == b"true");
    assert!(shallow, "the previous version is not built; run `cargo xtask previous`");
    None
}

/// A platform, and what is written into it from every side.
struct Site {
    lab: Lab,
    environment: Environment,
    written: u16,
    _place: ScratchDirectory,
}

impl Site {
    /// Two replicas, two nodes and an edge of `programs`.
    fn up(programs: Programs) -> Self {
        let place = ScratchDirectory::new().expect("make");
        let size = Size { nodes: 2, replicas: 2 };
        let (interrupt, progress) = (Interrupt::never(), Progress::start());
        let lab = Lab::up_with_edges(place.directory(), programs, size, 1, interrupt, progress)
            .expect("the lab comes up");
        let operator = Operator::of(lab.description()).expect("operator");
        let environment = operator.create_environment("shop/web/prod").expect("an environment");
        Self { lab, environment, written: 0, _place: place }
    }

    /// An operator who asks one replica alone.
    fn operator(&self, replica: usize) -> Operator {
        let lab = self.lab.description();
        let url = lab.replicas[replica].api_url.clone();
        Operator::new(vec![url], &lab.ca_file, &lab.admin_token_file).expect("an operator")
    }

    /// The daemon is one of `programs` from now on.
    fn replace(&mut self, target: &str, programs: Programs) {
        let target: Target = target.parse().expect("a target");
        self.lab.use_programs(programs);
        self.lab.stop(&target).expect("stops");
        self.lab.start(&target).expect("starts");
    }

    /// Writes through each replica, and sees it done by every agent and edge.
    fn check(&mut self) {
        for replica in 0..2 {
            let operator = self.operator(replica);
            self.written += 1;
            let name = format!("v{}.lab.test", self.written);
            let workload =
                operator.register_workload(self.environment.id, "web").expect("a workload");
            until("the workload to be healthy", LIMIT, &Interrupt::never(), || {
                let all = operator.workloads()?;
                let found = all.into_iter().find(|it| it.id == workload.id);
                Ok(match found {
                    Some(found) if found.status == WorkloadStatus::Healthy => {
                        ControlFlow::Break(())
                    }
                    other => ControlFlow::Continue(format!("{other:?}")),
                })
            })
            .expect("its agent made it live");
            let route = tls_route(&name, TLS_PORT).expect("a route");
            operator.create_route(self.environment.id, &route).expect("a route");
            self.lab.await_edges(&operator, LIMIT).expect("the edge serves it");
            let (_, edge) = self.lab.edge_addresses().remove(0);
            until("an answer through the edge", LIMIT, &Interrupt::never(), || {
                Ok(match visitor::get(self.lab.description(), edge, &name) {
                    Ok(_) => ControlFlow::Break(()),
                    Err(error) => ControlFlow::Continue(error.to_string()),
                })
            })
            .expect("it is carried");
        }
        let operator = Operator::of(self.lab.description()).expect("operator");
        self.lab.await_converged(&operator, None, LIMIT).expect("every follower is at the end");
        let pings = ping_all(self.lab.description()).expect("ping");
        assert!(pings.iter().all(|ping| ping.rtt_ms.is_some()), "{pings:?}");
    }

    /// Every event in the log is in the projections of whichever version projected it: making them
    /// anew changes nothing.
    fn check_projections(&self) {
        let url = &self.lab.description().postgres_url;
        let rows = || {
            ["nodes", "workloads", "routes", "hostnames", "environments"].map(|table| {
                let sql = format!("SELECT t::text FROM {table} t ORDER BY 1");
                postgres::query(url, &sql).expect("rows")
            })
        };
        let before = rows();
        self.lab.rebuild_projections().expect("rebuilt");
        assert_eq!(rows(), before);
    }
}

#[test]
fn a_rolling_upgrade_loses_no_event_and_cuts_no_connection() {
    let Some(old) = previous_version() else { return };
    let mut site = Site::up(old.clone());
    site.check();
    let pings = ContinuousPing::start(site.lab.description(), "n1", "n2").expect("ping");
    // The schema first: replicas of the previous version go on with it.
    site.lab.use_programs(this_version());
    site.lab.initialise_control_plane().expect("the schema of this version");
    site.check();
    for target in ["c1", "n1", "e1.edge", "c2", "n2", "e1"] {
        site.replace(target, this_version());
        site.check();
    }
    let tally = pings.finish().expect("a tally");
    assert!(tally.lost.is_empty(), "{tally:?}");
    site.check_projections();
}

#[test]
fn an_agent_and_an_edge_can_be_taken_back() {
    let Some(old) = previous_version() else { return };
    let mut site = Site::up(this_version());
    site.check();
    for target in ["n1", "e1.edge"] {
        site.replace(target, old.clone());
        site.check();
    }
    site.lab.use_programs(this_version());
    site.check_projections();
}
