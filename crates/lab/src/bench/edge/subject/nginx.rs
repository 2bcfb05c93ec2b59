//! nginx: its stream module with 64 KiB buffers, which is where its throughput levels off.

use super::{Task, lines, names};
use crate::bench::edge::error::Result;

/// Where Debian has the module.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub(super) fn configure(task: &Task<'_>) -> Result<Vec<String>> {
    let (port, directory) = (task.port, task.directory.display());
    let names = lines(names().map(|name| format!("        {name} servers;")));
    let servers = task.for_each_backend(|_, backend| format!("        server {backend};"));
    // Distributions may have the module built in.
    let module = if std::path::Path::new(MODULE).exists() {
        format!("load_module {MODULE};\n")
    } else {
        String::new()
    };
    // Each session takes two connections.
    let connections = task.connections * 2 + 64;
    let text = format!(
        "{module}user root;
daemon off;
pid {directory}/nginx.pid;
error_log stderr crit;
worker_processes 1;
events {{
    worker_connections {connections};
    multi_accept on;
}}
stream {{
    access_log off;
    map_hash_max_size 1024;
    map $ssl_preread_server_name $chosen {{
{names}    }}
    upstream servers {{
{servers}    }}
    server {{
        listen [::]:{port} backlog=4096;
        ssl_preread on;
        preread_timeout 5s;
        proxy_pass $chosen;
        proxy_buffer_size 64k;
        proxy_connect_timeout 5s;
        proxy_timeout 1h;
    }}
}}
"
    );
    let file = task.file("nginx.conf", &text)?;
    let prefix = format!("{directory}/");
    Ok(["-p", &prefix, "-e", "stderr", "-c", &file].map(str::to_owned).to_vec())
}
