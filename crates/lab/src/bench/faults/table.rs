//! The faults: how each is caused and healed, and what must be said about it.

use super::trial::Trial;
use crate::{error::Result, lab::Target};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What it is called.
    pub name: &'static str,
    /// Whether the tests of the workspace try it too.
    pub quick: bool,
    /// How `sextant status` ends.
    pub exit: i32,
    /// The kind of the finding.
    pub kind: &'static str,
    /// What its subject and text contain.
    pub says: &'static [&'static str],
    /// How many findings there may be, all of this kind.
    pub findings: usize,
    pub(super) prepare: Act,
    pub(super) cause: Act,
    pub(super) heal: Act,
}

type Act = fn(&mut Trial) -> Result<()>;

macro_rules! told {
    ($offset:literal) => {
        concat!(
            "exec env LD_PRELOAD=\"$(ls /usr/lib/*/faketime/libfaketime.so.1 | head -n 1)\" FAKETIME=",
            $offset,
            " FAKETIME_DONT_FAKE_MONOTONIC=1 \"$@\""
        )
    };
}

const NOTHING: Act = |_| Ok(());

const PLAIN: Fault = Fault {
    name: "",
    quick: false,
    exit: 1,
    kind: "",
    says: &[],
    findings: 1,
    prepare: NOTHING,
    cause: NOTHING,
    heal: NOTHING,
};

/// Words before a command line that tell the program another time, but not that time passes
/// differently. `faketime` itself would stay between, and a signal would end only that.
const LATER: [&str; 4] = ["sh", "-c", told!("+5s"), "sh"];
const EARLIER: [&str; 4] = ["sh", "-c", told!("-3d"), "sh"];

const WIREGUARD: &str = "udp dport 51820";

/// All of them.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "pair cut",
        quick: true,
        kind: "pair-dead",
        says: &["pair n1, n2", "nothing passes, either way"],
        cause: |trial| {
            let (one, two) = (trial.underlay("n1")?, trial.underlay("n2")?);
            trial.drop_outgoing("n1", &format!("ip6 daddr {two} {WIREGUARD}"))?;
            trial.drop_outgoing("n2", &format!("ip6 daddr {one} {WIREGUARD}"))
        },
        heal: |trial| trial.drop_nothing(&["n1", "n2"]),
        ..PLAIN
    },
    Fault {
        name: "pair cut one way",
        quick: true,
        kind: "pair-one-way",
        says: &["packets from n3 do not reach n4"],
        cause: |trial| {
            let four = trial.underlay("n4")?;
            trial.drop_outgoing("n3", &format!("ip6 daddr {four} {WIREGUARD}"))
        },
        heal: |trial| trial.drop_nothing(&["n3"]),
        ..PLAIN
    },
    Fault {
        name: "node cut off",
        kind: "node-cut-off",
        says: &["node n2", "all of its peers", "n1, n3, n4"],
        cause: |trial| trial.drop_outgoing("n2", WIREGUARD),
        heal: |trial| trial.drop_nothing(&["n2"]),
        ..PLAIN
    },
    Fault {
        name: "API port dropped",
        kind: "agent-silent",
        says: &["node n2", "the machine is up (n1, n3, n4 hear it)"],
        cause: |trial| trial.drop_outgoing("n2", "tcp dport 7443"),
        heal: |trial| trial.drop_nothing(&["n2"]),
        ..PLAIN
    },
    Fault {
        name: "agent killed",
        quick: true,
        kind: "agent-silent",
        says: &["node n2", "the machine is up (n1, n3, n4 hear it)"],
        cause: |trial| trial.kill("n2"),
        heal: |trial| trial.lab.start_agent("n2"),
        ..PLAIN
    },
    Fault {
        name: "machine off",
        kind: "node-unreachable",
        says: &["node n3", "n1, n2, n4 do not hear it either"],
        cause: |trial| trial.lab.pull_cable("n3"),
        heal: |trial| trial.lab.plug_cable("n3"),
        ..PLAIN
    },
    Fault {
        name: "replica killed",
        kind: "replica-silent",
        says: &["control plane", "last heard of"],
        cause: |trial| trial.kill("c2"),
        heal: |trial| trial.lab.start_replica("c2"),
        ..PLAIN
    },
    Fault {
        name: "database down",
        exit: 3,
        cause: |trial| trial.lab.stop(&Target::Postgres),
        heal: |trial| trial.lab.start(&Target::Postgres),
        ..PLAIN
    },
    Fault {
        name: "clock of a node +5 s",
        kind: "node-clock",
        says: &["node n4", "s ahead of the database's"],
        cause: |trial| {
            trial.stop("n4")?;
            trial.lab.start_agent_by("n4", &LATER)
        },
        heal: |trial| {
            trial.stop("n4")?;
            trial.lab.start_agent("n4")
        },
        ..PLAIN
    },
    Fault {
        name: "clock of a replica -3 d",
        kind: "replica-clock",
        says: &["control plane", "3 days behind the database's"],
        cause: |trial| {
            trial.stop("c2")?;
            trial.lab.start_replica_by("c2", &EARLIER).map(drop)
        },
        heal: |trial| {
            trial.stop("c2")?;
            trial.lab.start_replica("c2")
        },
        ..PLAIN
    },
    Fault {
        name: "underlay MTU 1300",
        kind: "underlay-mtu",
        says: &["node n2", "raise the underlay MTU to at least 1360"],
        cause: |trial| trial.shell("n2", "ip link set eth0 mtu 1300").map(drop),
        heal: |trial| trial.shell("n2", "ip link set eth0 mtu 1500").map(drop),
        ..PLAIN
    },
    Fault {
        name: "MTU 1400 on the way",
        quick: true,
        kind: "large-packets-lost",
        says: &["node n2", "n1, n3, n4", "1420 do not"],
        cause: |trial| trial.lab.narrow_cable("n2", 1400),
        heal: |trial| trial.lab.narrow_cable("n2", crate::underlay::MTU),
        ..PLAIN
    },
    Fault {
        name: "two wrong endpoints",
        kind: "endpoint-unused",
        says: &["where nobody reaches it; peers do at"],
        findings: 2,
        prepare: |trial| {
            trial.configure_no_endpoint("n1")?;
            trial.configure_no_endpoint("n2")
        },
        cause: |trial| {
            for name in ["n1", "n2"] {
                let mut wrong = trial.underlay(name)?.segments();
                wrong[6] = 0xbad;
                trial.set_endpoint(name, wrong.into())?;
            }
            Ok(())
        },
        heal: |trial| {
            trial.set_endpoint("n1", trial.underlay("n1")?)?;
            trial.set_endpoint("n2", trial.underlay("n2")?)
        },
        ..PLAIN
    },
    Fault {
        name: "two nodes, one endpoint",
        kind: "endpoint-shared",
        says: &["nodes n1, n2"],
        prepare: |trial| trial.configure_no_endpoint("n1"),
        cause: |trial| trial.set_endpoint("n1", trial.underlay("n2")?),
        heal: |trial| trial.set_endpoint("n1", trial.underlay("n1")?),
        ..PLAIN
    },
    Fault {
        name: "state disk full",
        kind: "disk-full",
        says: &["node n2", "is nearly full"],
        prepare: |trial| {
            trial.stop("n2")?;
            let state = trial.lab.description().node("n2")?.state.display().to_string();
            trial.shell(
                "n2",
                &format!(
                    "cp -a '{state}' /run/state && \
                     mount -t tmpfs -o size=512k,mode=0700 state '{state}' && \
                     cp -a /run/state/. '{state}'"
                ),
            )?;
            trial.lab.start_agent("n2")
        },
        cause: |trial| {
            let state = trial.lab.description().node("n2")?.state.display().to_string();
            // It ends when there is no more room.
            trial
                .shell("n2", &format!("cat /dev/zero > '{state}/filler' 2>/dev/null; true"))
                .map(drop)
        },
        heal: |trial| {
            let state = trial.lab.description().node("n2")?.state.display().to_string();
            trial.shell("n2", &format!("rm '{state}/filler'")).map(drop)
        },
        ..PLAIN
    },
    Fault {
        name: "port busy at start",
        quick: true,
        kind: "port-busy",
        says: &["node n3", "UDP port 51820 is in use"],
        cause: |trial| {
            trial.stop_node("n3")?;
            trial.take_port("n3")?;
            trial.lab.start_agent("n3")
        },
        heal: |trial| trial.free_port("n3"),
        ..PLAIN
    },
    Fault {
        name: "WireGuard missing",
        kind: "wireguard-missing",
        says: &["node n3", "install wireguard-go"],
        cause: |trial| {
            trial.stop_node("n3")?;
            trial.lab.start_agent_by("n3", &["env", "WG_USERSPACE_IMPLEMENTATION=no-such-program"])
        },
        heal: |trial| {
            trial.stop("n3")?;
            trial.lab.start_agent("n3")
        },
        ..PLAIN
    },
];
