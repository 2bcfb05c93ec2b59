//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Passes TCP and TLS on to backends: by SNI, by the first request's Host, or by port alone.
///
/// With --routes it serves a route file and needs nothing else. Without, it follows the control
/// plane that the configuration names.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "sextant-edge",
    version = sextant_daemon::VERSION,
    after_help = "\
Signals:
  TERM, INT  stop accepting, let connections finish for a while, end; the second one ends at once
  HUP        read the route file again, reopen the access log
  USR2       start the program anew and hand the listening sockets over to it

Examples:
  sextant-edge --routes /etc/sextant/routes.toml
  sextant-edge --routes routes.toml --check
  sextant-edge --config /etc/sextant/edge.toml

A route file:
  [[routes]]
  listen = \"[::]:443\"
  hostname = \"shop.example.com\"
  backends = [\"[fd00::1]:8443\", \"[fd00::2]:8443\"]"
)]
pub struct Args {
    /// Route file (TOML); read again when it changes and on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub routes: Option<PathBuf>,
    /// Configuration file; /etc/sextant/edge.toml if neither this nor --routes is given. Variables
    /// such as SEXTANT_EDGE_WORKERS override it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where status and metrics are served: a path, an address and port, or "off".
    #[arg(long, value_name = "PATH|ADDRESS|off")]
    pub admin: Option<String>,
    /// Check the configuration and the route file, print every mistake, and end.
    #[arg(long)]
    pub check: bool,
}
