//! A real platform on one machine: hosts are network namespaces joined by a bridge, Postgres,
//! the control plane's replicas and the node agents are the real programs.
//!
//! Start at [`Lab`]. [`LabDescription`] (`lab.json`) says where everything of a running lab is, and
//! [`postgres`] gives any test a database of its own.

pub mod bench;
pub mod clock;
pub mod command;
pub mod control_plane;
pub mod convergence;
pub mod demo;
pub mod description;
pub mod directory;
mod down;
pub mod edge;
pub mod error;
pub mod host;
pub mod interrupt;
pub mod lab;
pub mod node;
pub mod operator;
pub mod ping;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod progress;
mod removal;
pub mod scratch;
pub mod serve;
pub mod shell;
pub mod status;
pub mod tenant;
pub mod traffic;
pub mod underlay;
mod up;
pub mod visitor;
pub mod wait;
pub mod wireguard;
pub mod workload;

pub use description::{LabDescription, NodeDescription, ReplicaDescription};
pub use directory::LabDirectory;
pub use down::down;
pub use error::{LabError, Result};
pub use lab::{Lab, Target};
pub use programs::Programs;
pub use progress::Progress;
pub use scratch::ScratchDirectory;
pub use up::Size;
