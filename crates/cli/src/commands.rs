//! One file per group of commands.

pub mod api_token;
pub mod app;
pub mod completions;
pub mod context;
pub mod deploy;
pub mod doctor;
pub mod edge;
pub mod environment;
pub mod events;
pub mod hostname;
pub mod man;
pub mod network;
pub mod node;
pub mod org;
pub mod port;
pub mod release;
pub mod route;
pub mod secret_output;
pub mod status;
pub mod token;
pub mod version;
pub mod workload;

use crate::{
    args::{Cli, Command},
    exit::{Exit, Failure},
    help,
    output::Output,
};

/// Does what the command line says.
pub async fn run(cli: &Cli, output: &Output) -> Result<Exit, Failure> {
    let globals = &cli.globals;
    match &cli.command {
        Command::Context(command) => context::run(command, globals, output),
        Command::Network(command) => network::run(command, globals, output).await,
        Command::Node(command) => node::run(command, globals, output).await,
        Command::Token(command) => token::run(command, globals, output).await,
        Command::Org(command) => org::run(command, globals, output).await,
        Command::App(command) => app::run(command, globals, output).await,
        Command::Environment(command) => environment::run(command, globals, output).await,
        Command::Deploy(args) => deploy::run(args, globals, output).await,
        Command::Release(command) => release::run(command, globals, output).await,
        Command::Workload(command) => workload::run(command, globals, output).await,
        Command::Hostname(command) => hostname::run(command, globals, output).await,
        Command::Route(command) => route::run(command, globals, output).await,
        Command::Port(command) => port::run(command, globals, output).await,
        Command::Edge(command) => edge::run(command, globals, output).await,
        Command::ApiToken(command) => api_token::run(command, globals, output).await,
        Command::Events(args) => events::run(args, globals, output).await,
        Command::Status(args) => status::run(args, globals, output).await,
        Command::Doctor(args) => doctor::run(args, globals, output).await,
        Command::Completions(args) => completions::run(args, output),
        Command::Version => version::run(output),
        Command::Options => output.text(&help::options()).map(|()| Exit::Success),
        Command::Man(args) => man::run(args, output),
    }
}
