//! The control plane of Sextant.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use sextant_control::{
    admin_token,
    config::Config,
    http,
    init::{self, OwnerLogin},
    login::{self, with_user},
    run,
};
use sextant_model::DnsLabel;
use sextant_store::Store;

#[derive(Parser)]
#[command(version = sextant_daemon::VERSION, about = "The control plane of Sextant", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  sextant-control init --config control.toml --owner-url-file owner.url --admin-token-file admin.token
  sextant-control run --config control.toml
  sextant-control rebuild --config control.toml
  sextant-control admin-token --output admin.token

Without --config, /etc/sextant/control.toml is read.

Exit status: 0 done, 1 failed, 2 wrong usage.";

#[derive(Subcommand)]
enum Command {
    /// Prepare the database, the CA and the first API token. Running it again is harmless.
    Init {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        owner: Owner,
        /// Where to write the first API token (0600); left alone if it exists.
        #[arg(long)]
        admin_token_file: PathBuf,
        /// Let the daemon log in as the owner of the tables or as a superuser. It could then change
        /// events; without this it is refused.
        #[arg(long)]
        allow_owner_login: bool,
    },
    /// Serve.
    Run {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Make every projection anew from the log; readers see the old rows meanwhile.
    Rebuild {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Make another API token with the role admin, for an operator who has none that works. Whoever
    /// may read the configuration may do that. Revoke the lost one afterwards.
    AdminToken {
        #[command(flatten)]
        config: ConfigFile,
        /// What the token is called.
        #[arg(long, default_value = "rescue")]
        name: DnsLabel,
        /// Where to write it: a new file (0600).
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Start a new epoch of the event stream. Do this after promoting a standby and after a
    /// restore, before any replica runs: followers then take a new snapshot.
    StartEpoch {
        #[command(flatten)]
        owner: Owner,
    },
    /// Print the OpenAPI document.
    Openapi,
}

#[derive(clap::Args)]
struct ConfigFile {
    /// Configuration file; /etc/sextant/control.toml if not given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How to reach the database as its owner. One of the two.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Owner {
    /// URL without a password, for example over a Unix socket.
    #[arg(long)]
    owner_url: Option<String>,
    /// File that holds a URL with a password.
    #[arg(long)]
    owner_url_file: Option<PathBuf>,
}

impl Owner {
    fn url(&self) -> anyhow::Result<String> {
        match (&self.owner_url, &self.owner_url_file) {
            (Some(url), _) if has_password(url) => anyhow::bail!(
                "--owner-url holds a password, which others can see; put the URL into a file and give --owner-url-file"
            ),
            (Some(url), _) => Ok(with_user(url)),
            (None, Some(file)) => {
                Ok(with_user(sextant_daemon::private_file::read_secret(file)?.trim()))
            }
            (None, None) => anyhow::bail!("give --owner-url or --owner-url-file"),
        }
    }
}

fn has_password(url: &str) -> bool {
    let parsed = url::Url::parse(url);
    parsed.is_ok_and(|url| {
        url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password")
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(execute(arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // Some errors show their cause themselves: each sentence is said once.
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{separator}{cause}");
        }
    }
    if let Some(remedy) = login::remedy(&text) {
        text = format!("{text}; {remedy}");
    }
    let _ = writeln!(std::io::stderr(), "error: {text}");
    ExitCode::FAILURE
}

async fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init { config, owner, admin_token_file, allow_owner_login } => {
            let config = load(&config)?;
            let owner_login =
                if allow_owner_login { OwnerLogin::Allowed } else { OwnerLogin::Refused };
            let owner = owner.url()?;
            for line in init::init_with(&config, &owner, &admin_token_file, owner_login).await? {
                say(&line)?;
            }
            Ok(())
        }
        Command::Run { config } => run::run(load(&config)?).await,
        Command::Rebuild { config } => {
            let config = load(&config)?;
            let store = Store::connect(&config.database.connect_options()?)?;
            let last = store.rebuild().await?;
            say(&format!("the projections were made anew up to event {last}"))
        }
        Command::AdminToken { config, name, output } => {
            for line in admin_token::create(&load(&config)?, name, &output).await? {
                say(&line)?;
            }
            Ok(())
        }
        Command::StartEpoch { owner } => {
            let epoch = Store::start_epoch(&owner.url()?).await?;
            say(&format!("epoch {epoch} has begun"))
        }
        Command::Openapi => say(&serde_json::to_string_pretty(&http::openapi())?),
    }
}

fn load(file: &ConfigFile) -> anyhow::Result<Config> {
    let path = sextant_daemon::config::given_or_default(file.config.as_deref(), "control.toml")?;
    let config: Config = sextant_daemon::config::load(&path, "SEXTANT_CONTROL_")?;
    sextant_daemon::logging::init(&config.log)?;
    sextant_daemon::memory::keep_private();
    Ok(config)
}

fn say(line: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
