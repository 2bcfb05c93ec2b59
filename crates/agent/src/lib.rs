//! The node agent: it enrols the machine, follows the membership of its network and makes the
//! WireGuard interface what the membership says.
//!
//! ```text
//! stream --> membership --> model: desired --> model: plan --> steps --> kernel
//!                |                               ^                        |
//!                v                               +------- observe --------+
//!           state.json --> the next start, with or without a control plane
//! ```
//! Losing the control plane never touches the interface; only the log does.

pub mod certificate;
pub mod config;
pub mod disk;
pub mod doctor;
pub mod egress;
pub mod endpoint;
pub mod enrol;
pub mod heard;
pub mod key;
pub mod netlink;
pub mod port;
pub mod probe;
pub mod problem;
pub mod reconcile;
pub mod report;
pub mod run;
pub mod state;
pub mod status;
pub mod userspace;
pub mod wireguard;
pub mod workloads;
