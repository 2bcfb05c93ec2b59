//! Where the routes come from: a file that may change, or the control plane.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    config::{ControlPlane, Source},
    follow::{self, Following, News},
    publish::Change,
    route_file::{self, RouteFile, RouteFileError},
    run::{RunError, system},
    watch::{self, WatchedFile},
};

/// How long the start waits for somebody who is writing the route file.
const WRITER_PATIENCE: Duration = Duration::from_secs(10);
const WRITER_PAUSE: Duration = Duration::from_millis(50);

/// Where the routes come from.
#[derive(Debug)]
pub enum Feed {
    /// From a file.
    File {
        /// Which.
        path: PathBuf,
        /// When it has changed.
        changes: mpsc::Receiver<()>,
        /// Whether somebody is writing it.
        watched: Arc<WatchedFile>,
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
                let watched = watch::watch(path.clone());
                let (changes, watched) = watched.map_err(system("watch the route file"))?;
                let file = load_when_written(path, &watched).await?;
                Ok((Self::File { path: path.clone(), changes, watched }, First::File(file)))
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
pub async fn load(path: &Path, watched: &Arc<WatchedFile>) -> Result<RouteFile, RouteFileError> {
    let (owned, watched) = (path.to_owned(), watched.clone());
    let unreadable = |error: tokio::task::JoinError| RouteFileError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let read = move || {
        let being_written = || RouteFileError::BeingWritten { path: owned.clone() };
        if watched.is_being_written() {
            return Err(being_written());
        }
        let loaded = route_file::load(&owned);
        // Somebody may have begun meanwhile.
        if watched.is_being_written() { Err(being_written()) } else { loaded }
    };
    tokio::task::spawn_blocking(read).await.map_err(unreadable)?
}

/// The same, and waits for whoever is writing it.
async fn load_when_written(
    path: &Path,
    watched: &Arc<WatchedFile>,
) -> Result<RouteFile, RouteFileError> {
    let limit = Instant::now() + WRITER_PATIENCE;
    loop {
        match load(path, watched).await {
            Err(RouteFileError::BeingWritten { .. }) if Instant::now() < limit => {
                tokio::time::sleep(WRITER_PAUSE).await;
            }
            loaded => return loaded,
        }
    }
}
