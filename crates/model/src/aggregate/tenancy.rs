//! Why something is not done for an org, an app, a release or a workload.

use crate::name::DnsLabel;

/// A command about tenancy that the rules do not allow now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenancyRefusal {
    /// An org with apps is not removed under them.
    #[error("org \"{0}\" still has {1} apps; delete them first")]
    OrgInUse(DnsLabel, u64),
    /// An app with environments is not removed under them.
    #[error("app \"{0}\" still has {1} environments; delete them first")]
    AppInUse(DnsLabel, u64),
    /// Several networks, or none, and no word which one.
    #[error(
        "network_id is missing and there are {0} networks; give the id of one, which an operator of the platform can tell"
    )]
    NetworkUnclear(usize),
    /// A release that runs nothing.
    #[error("processes is empty; give at least one process type with its instances")]
    NoProcesses,
    /// A release with too many kinds of workloads.
    #[error("processes has {0} process types; give at most {most}", most = super::release::MOST_PROCESS_TYPES)]
    TooManyProcessTypes(usize),
    /// A release that says two things about one process type.
    #[error("processes names \"{0}\" twice; give each process type once")]
    ProcessTypeTwice(DnsLabel),
    /// None, or too many.
    #[error("instances of process type \"{0}\" is {1}; give 1 to {most}", most = super::release::MOST_INSTANCES)]
    Instances(DnsLabel, u16),
    /// Too many in all.
    #[error("processes asks for {0} workloads in all; give at most {most}", most = super::release::MOST_WORKLOADS)]
    TooManyWorkloads(usize),
    /// Nothing to run workloads on.
    #[error(
        "the environment's network has no active node with the role worker; enrol one, or ask an operator to"
    )]
    NoWorker,
    /// The node that was asked for cannot run it.
    #[error(
        "node_id names no active node with the role worker in the environment's network; leave it out to have one chosen"
    )]
    NodeUnfit,
    /// The workload is on its way out.
    #[error("the workload was withdrawn; register another one, or deploy")]
    WorkloadWithdrawn,
}

impl TenancyRefusal {
    /// The stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OrgInUse(..) => "org-in-use",
            Self::AppInUse(..) => "app-in-use",
            Self::NetworkUnclear(_) => "network-unclear",
            Self::NoProcesses
            | Self::TooManyProcessTypes(_)
            | Self::ProcessTypeTwice(_)
            | Self::Instances(..)
            | Self::TooManyWorkloads(_) => "processes-invalid",
            Self::NoWorker => "no-worker",
            Self::NodeUnfit => "node-unfit",
            Self::WorkloadWithdrawn => "workload-withdrawn",
        }
    }

    /// Whether the request is wrong in itself, not only at this moment.
    pub fn is_about_content(&self) -> bool {
        match self {
            Self::NetworkUnclear(_)
            | Self::NoProcesses
            | Self::TooManyProcessTypes(_)
            | Self::ProcessTypeTwice(_)
            | Self::Instances(..)
            | Self::TooManyWorkloads(_)
            | Self::NodeUnfit => true,
            Self::OrgInUse(..) | Self::AppInUse(..) | Self::NoWorker | Self::WorkloadWithdrawn => {
                false
            }
        }
    }
}
