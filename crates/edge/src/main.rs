//! `sextant-edge`: see `sextant-edge --help`.

use std::{io::Write, process::ExitCode, time::Duration};

use anyhow::anyhow;
use clap::Parser;
use sextant_edge::{
    args::Args,
    config::{EdgeConfig, Source},
    route_file,
    run::{self, RunError, Startup},
};

/// How long blocking calls may hold up the end of the process.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(500);
/// Threads for everything but the moving of bytes.
const CONTROL_THREADS: usize = 2;

fn main() -> ExitCode {
    match start(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Logging may not have started; the journal takes both.
            let _ = writeln!(std::io::stderr().lock(), "sextant-edge: {error}");
            ExitCode::from(error.downcast_ref::<RunError>().map_or(2, RunError::exit_code))
        }
    }
}

fn start(args: &Args) -> anyhow::Result<ExitCode> {
    let config = configuration(args)?;
    if args.check {
        return check(&config);
    }
    sextant_daemon::logging::init(&config.log)?;
    sextant_daemon::memory::keep_private();
    let startup = Startup::take()
        .map_err(|error| anyhow!("cannot tell how this process was started: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start the async runtime: {error}"))?;
    let result = runtime.block_on(run::run(config, startup));
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    result?;
    Ok(ExitCode::SUCCESS)
}

/// A route file needs no configuration. Without one it is looked for where daemons have theirs.
fn configuration(args: &Args) -> anyhow::Result<EdgeConfig> {
    let routes = args.routes.as_deref();
    let given = args.config.as_deref();
    let file = match (given, routes) {
        (None, Some(_)) => None,
        _ => Some(
            sextant_daemon::config::given_or_default(given, "edge.toml")
                .map_err(|error| anyhow!("{error}, or give --routes FILE to serve a route file"))?,
        ),
    };
    Ok(EdgeConfig::load(file.as_deref(), routes, args.admin.as_deref())?)
}

/// Says whether the edge could start with these files.
fn check(config: &EdgeConfig) -> anyhow::Result<ExitCode> {
    let said = match &config.source {
        Source::File(path) => {
            let file = route_file::load(path)?;
            for warning in &file.warnings {
                writeln!(std::io::stderr().lock(), "warning: {}: {warning}", path.display())?;
            }
            format!("{}: {}", path.display(), route_file::summary(&file))
        }
        Source::ControlPlane(control) => {
            let urls: Vec<&str> = control.urls.iter().map(url::Url::as_str).collect();
            format!("routes come from {}", urls.join(", "))
        }
    };
    match writeln!(std::io::stdout().lock(), "{said}") {
        // Whoever reads has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
