//! Status, metrics and explanations over HTTP, for operators and their tools on this machine.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use http::StatusCode;
use prometheus_client::registry::Registry;
use sextant_daemon::metrics::{Answer, BindError, JSON, Listener, encode};
use tokio_util::sync::CancellationToken;

use crate::{
    config,
    explain::{self, Question},
    handover::Inherited,
    metrics::Collected,
    status::Shared,
};

const INDEX: &str = "\
/status   what this edge is doing
/routes   every route with its backends
/explain  ?port=443 [&host=NAME] [&from=ADDRESS] [&local=ADDRESS]: where a connection would go, and why
/metrics  for Prometheus
";

/// Where requests come in, if anywhere.
#[derive(Debug)]
pub struct Admin {
    place: Place,
    /// A copy of the TCP socket, for the process after this one.
    socket: Option<std::net::TcpListener>,
}

#[derive(Debug)]
enum Place {
    Open(Listener),
    /// The process before this one answers there as long as this one does not.
    Path(PathBuf),
}

impl Admin {
    /// Opens what `config` says. With `take_over`, what the process before has is taken over, but not
    /// before [`Self::serve`].
    pub fn open(
        config: &config::Admin,
        inherited: &mut Inherited,
        take_over: bool,
    ) -> Result<Option<Self>, BindError> {
        match config {
            config::Admin::Off => Ok(None),
            config::Admin::Path(path) => {
                let place = if take_over {
                    Place::Path(path.clone())
                } else {
                    make_folder(path);
                    Place::Open(Listener::on_path(path, false)?)
                };
                Ok(Some(Self { place, socket: None }))
            }
            config::Admin::Address(address) => {
                let socket = match inherited.take_address(*address) {
                    Some(socket) => socket,
                    None => bind(*address)?,
                };
                let copy = socket.try_clone().ok();
                let place = Place::Open(Listener::from_std(socket)?);
                Ok(Some(Self { place, socket: copy }))
            }
        }
    }

    /// A copy of the TCP socket, for the process after this one.
    pub fn socket(&self) -> Option<&std::net::TcpListener> {
        self.socket.as_ref()
    }

    /// Answers until `stop` is cancelled.
    pub fn serve(
        self,
        shared: Arc<Shared>,
        stop: CancellationToken,
    ) -> Result<impl Future<Output = ()> + Send + 'static, BindError> {
        let listener = match self.place {
            Place::Open(listener) => listener,
            Place::Path(path) => {
                make_folder(&path);
                Listener::on_path(&path, true)?
            }
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Collected::new(shared.clone())));
        let answer = move |path: &str, query: &str| answer(&shared, &registry, path, query);
        Ok(listener.serve(answer, stop))
    }
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener, BindError> {
    let failed = |source| BindError::Failed { place: address.to_string(), source };
    std::net::TcpListener::bind(address).map_err(failed)
}

/// Where no service manager makes it. If it cannot be made, opening the socket says so.
fn make_folder(path: &Path) {
    if let Some(folder) = path.parent() {
        let _ = std::fs::create_dir_all(folder);
    }
}

fn answer(shared: &Shared, registry: &Registry, path: &str, query: &str) -> Answer {
    match path {
        "/" => Answer::ok("text/plain; charset=utf-8", INDEX.into()),
        "/metrics" => encode(registry),
        "/status" => json(&shared.status()),
        "/routes" => json(&explain::routes(shared)),
        "/explain" => match Question::parse(query) {
            Ok(question) => json(&explain::explain(shared, &question)),
            Err(reason) => Answer::refused(StatusCode::BAD_REQUEST, reason),
        },
        other => {
            let short: String = other.chars().take(40).collect();
            Answer::refused(StatusCode::NOT_FOUND, format!("there is no {short}; see /"))
        }
    }
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(text) => Answer::ok(JSON, text),
        Err(error) => Answer::refused(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}
