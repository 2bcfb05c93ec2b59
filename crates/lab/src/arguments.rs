//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use sextant_lab::{
    Target,
    bench::{edge::EdgeOptions, pressure::PressureOptions, routes::RoutesOptions},
};

/// Runs a whole Sextant platform on this machine: nodes and control plane replicas are network
/// namespaces joined by a bridge, and everything in them is real. The machine's own network is not
/// touched.
#[derive(Debug, Parser)]
#[command(name = "sextant-lab", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Directory of the lab [default: /tmp/sextant-lab-UID]
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

const EXAMPLES: &str = "\
Examples:
  sextant-lab up --nodes 5              bring up five nodes and two control plane replicas
  sextant-lab ping                      ping every pair of nodes over the mesh
  sextant-lab exec n1 -- wg show        look at WireGuard on node n1
  sextant-lab stop postgres             take the database away; the mesh goes on
  sextant-lab kill n2                   kill the agent of n2; WireGuard stays
  sextant-lab kill e1.edge              kill the edge on e1
  sextant-lab start n2                  start it again
  sextant-lab unplug n3                 cut n3 off; `plug n3` ends that
  eval \"$(sextant-lab env)\"             let `sextant` talk to the lab
  sextant-lab down                      remove everything that `up` made";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Bring a lab up and return when its mesh has converged; everything keeps running
    #[command(after_help = "Example: sextant-lab up --nodes 3 --edges 2 --dir /tmp/lab")]
    Up {
        /// How many nodes, n1, n2 and so on
        #[arg(long, default_value_t = 3, value_parser = value_parser!(u16).range(1..=200))]
        nodes: u16,
        /// How many replicas of the control plane, c1, c2 and so on
        #[arg(long, default_value_t = 2, value_parser = value_parser!(u16).range(1..=9))]
        replicas: u16,
        /// How many edges, e1, e2 and so on: nodes of their own. With them comes the host `client`
        /// outside the mesh, and a server for the workloads of every node
        #[arg(long, default_value_t = 0, value_parser = value_parser!(u16).range(0..=20))]
        edges: u16,
    },
    /// Remove everything that `up` made, also after a crash
    Down,
    /// Run a command on a host of the lab and return its exit code
    #[command(after_help = "Example: sextant-lab exec n1 -- ping -6 -c 3 fd5e::1")]
    Exec {
        /// n1, e1, c1, client or switch
        host: String,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Add one more node to a running lab and wait until it has joined
    #[command(after_help = "Example: sextant-lab add-node berlin-1")]
    AddNode {
        /// Its name; the next of n1, n2 and so on if absent
        name: Option<String>,
    },
    /// Add one more edge to a running lab, e1, e2 and so on, and wait until it serves
    AddEdge,
    /// Remove a node or an edge: wait until all others have dropped it, then take its host away. Of a node
    /// that has left already only the host is taken away
    #[command(after_help = "Example: sextant-lab remove-node n3")]
    RemoveNode {
        /// Its name
        name: String,
    },
    /// Ask a daemon to end; namespaces and WireGuard stay
    #[command(after_help = "Example: sextant-lab stop c1")]
    Stop(DaemonArguments),
    /// Start a daemon that was stopped or killed; exit code 1 if it ends at once, or if a replica
    /// does not get ready
    #[command(after_help = "Example: sextant-lab start postgres")]
    Start(DaemonArguments),
    /// Kill a daemon without asking (SIGKILL); namespaces and WireGuard stay
    #[command(after_help = "Example: sextant-lab kill n2")]
    Kill(DaemonArguments),
    /// Cut a host off from all others, by its cable at the switch; what runs on it goes on
    #[command(after_help = "Example: sextant-lab unplug n2")]
    Unplug {
        /// n1, e1, c1 or client
        host: String,
    },
    /// Plug a host in again
    #[command(after_help = "Example: sextant-lab plug n2")]
    Plug {
        /// n1, e1, c1 or client
        host: String,
    },
    /// Print the variables that let `sextant` talk to the lab, as a shell reads them
    #[command(after_help = "Example: eval \"$(sextant-lab env)\" && sextant status")]
    Env,
    /// Show every daemon and what the control plane knows of the nodes; exit code 0 if all daemons
    /// run, agents of nodes that have left aside, 1 otherwise
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ping every ordered pair of nodes over the mesh; exit code 1 if a pair does not answer. Nodes
    /// that have left do not count
    Ping {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the log of a host's daemon
    #[command(after_help = "Example: sextant-lab logs n1 | tail")]
    Logs {
        /// n1, c1, e1.edge, n1.workloads or postgres
        host: String,
    },
    /// Look at the workloads, or run a program in one
    Workload {
        /// What to do
        #[command(subcommand)]
        action: WorkloadAction,
    },
    /// Show in a few minutes what the mesh does and what it survives
    Demo {
        /// How many nodes
        #[arg(long, default_value_t = 3, value_parser = value_parser!(u16).range(2..=50))]
        nodes: u16,
        /// Leave the lab running at the end
        #[arg(long)]
        keep: bool,
    },
    /// Measure, or try to break, a lab of its own
    Bench {
        /// What
        #[command(subcommand)]
        subject: BenchSubject,
    },
    /// Be a host of a lab
    #[command(hide = true)]
    Hold {
        /// Its name, for whoever looks at the process list
        name: String,
    },
    /// Answer for the workloads of a node
    #[command(hide = true)]
    Serve {
        /// The node
        node: String,
        /// Where to write their certificates
        #[arg(long, value_name = "DIR")]
        certificates: PathBuf,
    },
    /// Make connections as stdin says until it ends
    #[command(hide = true)]
    Traffic,
    /// Do as stdin says and say what was found
    #[command(hide = true)]
    Probe,
    /// Run a command with a Postgres server that its tests share
    #[command(hide = true)]
    ScratchPostgres {
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// What to do with workloads.
#[derive(Debug, Subcommand)]
pub enum WorkloadAction {
    /// List them with their addresses and where they run. Each answers HTTPS at port 8443 with a
    /// certificate of its own, HTTP at 8080, and sends back what it is sent at 7000
    List,
    /// Run a program on the host of a workload and return its exit code. SEXTANT_WORKLOAD_ADDRESS is
    /// the address to listen on
    #[command(after_help = "\
Example:
  sextant-lab workload run fd5e:1:2:3::10 -- \\
    sh -c 'openssl s_server -www -key k -cert c -accept \"[$SEXTANT_WORKLOAD_ADDRESS]:9443\"'")]
    Run {
        /// The workload's address
        address: std::net::Ipv6Addr,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// What a lab of its own is for.
#[derive(Debug, Subcommand)]
pub enum BenchSubject {
    /// From the commit of a join until every other agent has applied it; exit code 1 if the goal
    /// is missed
    #[command(after_help = "Example: sextant-lab bench join --nodes 10 --joins 20")]
    Join {
        /// How many nodes stay
        #[arg(long, default_value_t = 5, value_parser = value_parser!(u16).range(1..=200))]
        nodes: u16,
        /// How many others join, one at a time
        #[arg(long, default_value_t = 50, value_parser = value_parser!(u16).range(1..))]
        joins: u16,
    },
    /// Kill agents, replicas and Postgres at random moments of their work, then compare every
    /// account of what happened; exit code 1 if two differ or a ping is lost
    #[command(after_help = "Example: sextant-lab bench kill --rounds 20 --seed 7")]
    Kill {
        /// How many kills
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
        rounds: u32,
        /// How many nodes at the start
        #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(3..=50))]
        nodes: u16,
        /// Repeat the victims and moments of a run [default: random]
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Leave the lab running at the end
        #[arg(long)]
        keep: bool,
    },
    /// Cause one fault after the other and see whether `sextant status` and `doctor` name it in time,
    /// and not any more once it is healed; exit code 1 if not
    #[command(after_help = "Example: sextant-lab bench faults --only pair")]
    Faults {
        /// Only those with this in their name
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Leave the lab running at the end
        #[arg(long)]
        keep: bool,
    },
    /// Compare sextant-edge with HAProxy, nginx and sozu, one core each; exit code 1 if a goal is
    /// missed. Needs no lab
    #[command(after_help = "\
Examples:
  sextant-lab bench edge --quick --only throughput --subjects sextant,haproxy
  sextant-lab bench edge --only slow")]
    Edge(EdgeOptions),
    /// From the answer to a new route until the last edge serves it, with few and with many
    /// hostnames; then many changes during traffic. Exit code 1 if a goal is missed
    #[command(after_help = "Example: sextant-lab bench routes --quick")]
    Routes(RoutesOptions),
    /// What strangers and one tenant can do to another org and to the nodes; exit code 1 if a goal
    /// is missed
    #[command(after_help = "Example: sextant-lab bench pressure --seconds 60")]
    Pressure(PressureOptions),
}

/// Which daemon.
#[derive(Debug, Args)]
pub struct DaemonArguments {
    /// The host it runs on (n1, c1), one of two on a host (e1.edge, n1.workloads), or postgres
    pub target: Target,
}
