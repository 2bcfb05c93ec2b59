//! From start to end: log, configuration, sockets of the process before, table, workers, ready; then
//! changes, signals and time; then the drain.

mod edge;
mod feed;
mod pulse;
mod settings;
mod startup;

use sextant_daemon::metrics::BindError;

use crate::{access_log, config::EdgeConfig, route_file::RouteFileError, state::StateError};

pub use startup::Startup;

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The route file, at the start.
    #[error(transparent)]
    RouteFile(#[from] RouteFileError),
    /// The folder of the last good state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The socket for status and metrics.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] access_log::OpenError),
    /// Not one listening socket that the routes need.
    #[error("nothing can be served: {}", .0.join("; "))]
    NoListener(Vec<String>),
    /// The operating system refused something without which nothing works.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl RunError {
    /// 2 where a restart cannot help, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::RouteFile(RouteFileError::BeingWritten { .. })
            | Self::State(_)
            | Self::Admin(_)
            | Self::AccessLog(_)
            | Self::NoListener(_)
            | Self::System { .. } => 1,
            Self::RouteFile(_) => 2,
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

/// Serves until it is told to stop, and drains. Must be called inside a tokio runtime.
pub async fn run(config: EdgeConfig, startup: Startup) -> Result<(), RunError> {
    let mut edge = edge::Edge::start(config, startup).await?;
    let end = edge.work().await?;
    edge.finish(end).await;
    Ok(())
}
