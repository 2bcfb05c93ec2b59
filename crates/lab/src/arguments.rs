//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use sextant_lab::Target;

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
  sextant-lab start n2                  start it again
  eval \"$(sextant-lab env)\"             let `sextant` talk to the lab
  sextant-lab down                      remove everything that `up` made";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Bring a lab up and return when its mesh has converged; everything keeps running
    #[command(after_help = "Example: sextant-lab up --nodes 5 --replicas 3 --dir /tmp/lab")]
    Up {
        /// How many nodes, n1, n2 and so on
        #[arg(long, default_value_t = 3, value_parser = value_parser!(u16).range(1..=200))]
        nodes: u16,
        /// How many replicas of the control plane, c1, c2 and so on
        #[arg(long, default_value_t = 2, value_parser = value_parser!(u16).range(1..=9))]
        replicas: u16,
    },
    /// Remove everything that `up` made, also after a crash
    Down,
    /// Run a command on a host of the lab and return its exit code
    #[command(after_help = "Example: sextant-lab exec n1 -- ping -6 -c 3 fd5e::1")]
    Exec {
        /// n1, c1 or switch
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
    /// Remove a node: wait until all others have dropped it, then take its host away. Of a node
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
        /// n1, c1 or postgres
        host: String,
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
    /// Run a command with a Postgres server that its tests share
    #[command(hide = true)]
    ScratchPostgres {
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
}

/// Which daemon.
#[derive(Debug, Args)]
pub struct DaemonArguments {
    /// The host it runs on (n1, c1), or postgres
    pub target: Target,
}
