//! HAProxy: a map of names as its users with many of them have it, splicing in both directions.

use super::{Task, lines, names};
use crate::bench::edge::error::Result;

pub(super) fn configure(task: &Task<'_>) -> Result<Vec<String>> {
    let map = task.file("haproxy.map", &lines(names().map(|name| format!("{name} servers"))))?;
    let (port, connections) = (task.port, task.connections);
    let servers =
        task.for_each_backend(|number, backend| format!("    server s{number} {backend}"));
    // It reckons with pipes for every fourth connection, which may be more files than are allowed.
    let text = format!(
        "global
    nbthread 1
    tune.pipesize 1048576
    no strict-limits
    maxconn {connections}
defaults
    mode tcp
    option splice-request
    option splice-response
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend tls
    bind [::]:{port} backlog 4096
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    use_backend %[req.ssl_sni,lower,map({map})]
backend servers
{servers}"
    );
    let file = task.file("haproxy.cfg", &text)?;
    Ok(vec!["-db".to_owned(), "-f".to_owned(), file])
}
