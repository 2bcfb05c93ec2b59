//! Where the routes come from: a file that may change, or the control plane.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::{
    config::{ControlPlane, Source},
    follow::{self, Following, News},
    publish::Change,
    route_file::{self, RouteFile, RouteFileError},
    run::{RunError, system},
    watch,
};

/// Where the routes come from.
#[derive(Debug)]
pub enum Feed {
    /// From a file.
    File {
        /// Which.
        path: PathBuf,
        /// When it has changed.
        changes: mpsc::Receiver<()>,
    },
    /// From the control plane.
    ControlPlane {
        /// The stream.
        following: Box<Following>,
        /// How it is called in status.
        name: String,
    },
}

/// The routes at the start.
#[derive(Debug)]
pub enum First {
    /// The content of the file.
    File(RouteFile),
    /// The last good state.
    State(Change),
}

/// Something that happened to the routes.
#[derive(Debug)]
pub enum Fed {
    /// The file is another one.
    FileChanged,
    /// The control plane.
    News(News),
}

impl Feed {
    /// Opens the source, and reads what is there.
    pub async fn open(source: &Source, take_over: bool) -> Result<(Self, First), RunError> {
        match source {
            Source::File(path) => {
                // Watched first: what changes meanwhile is read again.
                let changes = watch::watch(path.clone()).map_err(system("watch the route file"))?;
                let file = load(path).await?;
                Ok((Self::File { path: path.clone(), changes }, First::File(file)))
            }
            Source::ControlPlane(settings) => Self::follow(settings, take_over),
        }
    }

    fn follow(settings: &ControlPlane, take_over: bool) -> Result<(Self, First), RunError> {
        let (following, change) = Following::start(settings, take_over)?;
        let name = follow::describe(settings);
        Ok((Self::ControlPlane { following: Box::new(following), name }, First::State(change)))
    }

    /// Waits until something happens. Cancel safe.
    pub async fn next(&mut self) -> Fed {
        match self {
            Self::File { changes, .. } => match changes.recv().await {
                Some(()) => Fed::FileChanged,
                None => std::future::pending().await,
            },
            Self::ControlPlane { following, .. } => Fed::News(following.next().await),
        }
    }

    /// Whether it is known what the routes are, if only from before.
    pub fn knows_routes(&self) -> bool {
        match self {
            Self::File { .. } => true,
            Self::ControlPlane { following, .. } => following.cursor().is_some(),
        }
    }

    /// How it is called in status.
    pub fn name(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::ControlPlane { name, .. } => name.clone(),
        }
    }
}

/// Reads a route file without holding up anything else.
pub async fn load(path: &Path) -> Result<RouteFile, RouteFileError> {
    let owned = path.to_owned();
    let unreadable = |error: tokio::task::JoinError| RouteFileError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    tokio::task::spawn_blocking(move || route_file::load(&owned)).await.map_err(unreadable)?
}
