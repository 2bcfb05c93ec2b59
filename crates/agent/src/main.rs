//! `sextant-agent`: see `sextant-agent --help`.

use std::{
    io::{StdoutLock, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::anyhow;
use clap::{Args, Parser, Subcommand};
use sextant_agent::{
    config::AgentConfig,
    doctor::{self, Severity},
    run, status,
};
use sextant_daemon::clock::{SystemClock, SystemEntropy};

/// How long blocking calls may hold up the end of the process.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(500);

/// The node agent of Sextant.
#[derive(Parser)]
#[command(
    version = sextant_daemon::VERSION,
    after_help = "Examples:\n  sextant-agent run --config /etc/sextant/agent.toml\n  sextant-agent status --json\n  sextant-agent doctor"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Enrol this machine if needed, then keep its WireGuard mesh as the control plane says.
    Run(ConfigArgs),
    /// Show what this machine knows of itself. Asks nobody; works without the control plane.
    Status(ShowArgs),
    /// Look for what is wrong with this node and say what to do about it. Changes nothing; exits 1
    /// if something does not work.
    Doctor(ShowArgs),
}

#[derive(Args)]
struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ConfigArgs {
    /// Configuration file; /etc/sextant/agent.toml if not given. Variables such as
    /// SEXTANT_AGENT_WIREGUARD__INTERFACE override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    fn load(&self) -> anyhow::Result<AgentConfig> {
        let path = sextant_daemon::config::given_or_default(self.config.as_deref(), "agent.toml")?;
        Ok(AgentConfig::load(&path)?)
    }
}

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Logging may not have started; the journal takes both.
            let _ = writeln!(std::io::stderr().lock(), "sextant-agent: {error}");
            let fatal = error.downcast_ref::<run::RunError>().map_or(2, run::RunError::exit_code);
            ExitCode::from(fatal)
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start the async runtime: {error}"))?;
    let result = match cli.command {
        Command::Run(args) => {
            let config = args.load()?;
            sextant_daemon::logging::init(&config.log)?;
            sextant_daemon::memory::keep_private();
            runtime.block_on(async {
                let stop = sextant_daemon::shutdown::on_signal()
                    .map_err(|error| anyhow!("cannot listen for signals: {error}"))?;
                run::run(config, stop).await?;
                Ok(ExitCode::SUCCESS)
            })
        }
        Command::Status(args) => {
            let config = args.config.load()?;
            runtime.block_on(show(&config, args.json))
        }
        Command::Doctor(args) => {
            let config = args.config.load()?;
            runtime.block_on(examine(&config, args.json))
        }
    };
    // A call that hangs in WireGuard must not keep the process from ending.
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    result
}

async fn show(config: &AgentConfig, json: bool) -> anyhow::Result<ExitCode> {
    let status = status::read(config).await?;
    print(json, &status, |out| status.write(out))?;
    Ok(ExitCode::SUCCESS)
}

async fn examine(config: &AgentConfig, json: bool) -> anyhow::Result<ExitCode> {
    let findings = doctor::examine(config, &SystemClock, &SystemEntropy).await;
    print(json, &findings, |out| doctor::write(&findings, out))?;
    let failed = findings.iter().any(|finding| finding.severity == Severity::Failure);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(
    json: bool,
    value: &impl serde::Serialize,
    text: impl FnOnce(&mut StdoutLock<'static>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = if json {
        let written = serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from);
        written.and_then(|()| writeln!(out))
    } else {
        text(&mut out)
    };
    match written {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
