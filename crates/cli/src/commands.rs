//! One file per group of commands.

pub mod api_token;
pub mod completions;
pub mod context;
pub mod doctor;
pub mod events;
pub mod network;
pub mod node;
pub mod secret_output;
pub mod status;
pub mod token;

use crate::{
    args::{Cli, Command},
    exit::{Exit, Failure},
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
        Command::ApiToken(command) => api_token::run(command, globals, output).await,
        Command::Events(args) => events::run(args, globals, output).await,
        Command::Status(args) => status::run(args, globals, output).await,
        Command::Doctor(args) => doctor::run(args, globals, output).await,
        Command::Completions(args) => completions::run(args, output),
    }
}
