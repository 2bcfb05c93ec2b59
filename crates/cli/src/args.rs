//! What may stand on the command line. Each group of commands declares its own arguments beside
//! its code; here is what they share.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde::de::DeserializeOwned;
use sextant_model::DnsLabel;
use url::Url;

use crate::{commands, exit::EXIT_CODES};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "sextant",
    version,
    about = "The operator's command line of Sextant",
    after_help = EXIT_CODES,
    after_long_help = examples(EXAMPLES),
    max_term_width = 100
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &[&str] = &[
    "sextant context add lab --api-url https://[fd5e::c1]:7443 --token-file ops.token --ca-file ca.crt",
    "sextant network create mesh",
    "sextant token create --node worker-1 --output worker-1.token",
    "sextant status",
    "sextant doctor",
];

/// The end of a `--help`: examples, and the exit codes.
pub fn examples(lines: &[&str]) -> String {
    format!("Examples:\n  {}\n\n{EXIT_CODES}", lines.join("\n  "))
}

/// Options of every command: whom to ask, and how to answer.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection and output")]
pub struct Globals {
    /// Use this context instead of the current one
    #[arg(long, global = true, value_name = "NAME", env = "SEXTANT_CONTEXT")]
    pub context: Option<DnsLabel>,
    /// URL of a control plane, https://HOST[:PORT]; repeat it for several, tried in order
    #[arg(
        long = "api-url",
        global = true,
        value_name = "URL",
        env = "SEXTANT_API_URLS",
        value_delimiter = ',',
        value_parser = parse_api_url
    )]
    pub api_urls: Vec<Url>,
    /// File that holds the API token; "-" reads it from standard input
    #[arg(long, global = true, value_name = "PATH", env = "SEXTANT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// File that holds the control plane's CA certificate, PEM
    #[arg(long, global = true, value_name = "PATH", env = "SEXTANT_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Answer in JSON, errors too
    #[arg(long, global = true)]
    pub json: bool,
}

/// The groups of commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say which control planes there are and which one is meant
    #[command(subcommand)]
    Context(commands::context::ContextCommand),
    /// Make, list and change networks
    #[command(subcommand)]
    Network(commands::network::NetworkCommand),
    /// List, change and remove nodes
    #[command(subcommand)]
    Node(commands::node::NodeCommand),
    /// Invite machines: enrolment tokens
    #[command(subcommand)]
    Token(commands::token::TokenCommand),
    /// Make, list and delete orgs, the tenants
    #[command(subcommand)]
    Org(commands::org::OrgCommand),
    /// Make, list and delete apps, the programs of an org
    #[command(subcommand)]
    App(commands::app::AppCommand),
    /// Make, list and delete environments, the deployments of an app
    #[command(subcommand, visible_alias = "env")]
    Environment(commands::environment::EnvironmentCommand),
    /// Run so many workloads of each process type
    #[command(long_about = commands::deploy::ABOUT)]
    Deploy(commands::deploy::DeployArgs),
    /// Show what was deployed
    #[command(subcommand)]
    Release(commands::release::ReleaseCommand),
    /// Register, list and withdraw workloads
    #[command(subcommand)]
    Workload(commands::workload::WorkloadCommand),
    /// Claim, prove and move the names environments answer to
    #[command(subcommand)]
    Hostname(commands::hostname::HostnameCommand),
    /// Say which connections go where
    #[command(subcommand)]
    Route(commands::route::RouteCommand),
    /// Say which ports environments may listen on
    #[command(subcommand)]
    Port(commands::port::PortCommand),
    /// Show whether all edges serve the same
    #[command(subcommand)]
    Edge(commands::edge::EdgeCommand),
    /// Give operators access: API tokens
    #[command(subcommand)]
    ApiToken(commands::api_token::ApiTokenCommand),
    /// Show what happened, and what happens
    #[command(long_about = commands::events::ABOUT)]
    Events(commands::events::EventsArgs),
    /// Show how the platform is doing
    #[command(long_about = commands::status::ABOUT)]
    Status(commands::status::StatusArgs),
    /// Look for what is wrong and say what to do about it
    #[command(long_about = commands::doctor::ABOUT)]
    Doctor(commands::doctor::DoctorArgs),
    /// Print a completion script for a shell
    Completions(commands::completions::CompletionsArgs),
}

impl Cli {
    /// Reads a command line, and the environment for what it leaves out.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        command.build();
        let mut matches = with_fixed_usage(command).try_get_matches_from(arguments)?;
        Self::from_arg_matches_mut(&mut matches)
    }
}

/// Gives every command the usage of its `--help` for its errors too. What clap composes for an
/// error shows whatever was given as if it were required, options from the environment included.
fn with_fixed_usage(mut command: clap::Command) -> clap::Command {
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    command.override_usage(usage).mut_subcommands(with_fixed_usage)
}

/// Reads the URL of a control plane. Only `https`, because a token goes with every request.
pub fn parse_api_url(text: &str) -> Result<Url, String> {
    const FORM: &str = "write it like https://[fd5e::c1]:7443";
    let url = Url::parse(text.trim()).map_err(|error| format!("{error}; {FORM}"))?;
    if url.scheme() != "https" {
        return Err(format!("it must start with https://, not {}://; {FORM}", url.scheme()));
    }
    if url.host().is_none() {
        return Err(format!("it names no host; {FORM}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("it must not hold a user or a password; {FORM}"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("it must end after the host and the port; {FORM}"));
    }
    Ok(url)
}

/// A parser for the words of an API type that are known in advance.
pub fn one_of<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words)
        .try_map(|word| serde_json::from_value::<T>(serde_json::Value::String(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(command: &clap::Command, path: &str, visit: &mut impl FnMut(&str, &clap::Command)) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            visit(&path, sub);
            every(sub, &path, visit);
        }
    }

    /// The words of a command line, as a shell splits it.
    fn words(line: &str) -> Vec<&str> {
        let quoted = line.split('\'').enumerate();
        let words = quoted.map(|(part, text)| match part % 2 {
            0 => text.split_whitespace().collect(),
            _ => vec![text],
        });
        words.collect::<Vec<_>>().concat()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_that_parse() {
        let mut seen = 0;
        every(&Cli::command(), "sextant", &mut |path, command| {
            if command.has_subcommands() {
                return;
            }
            let help = command.get_after_long_help().or(command.get_after_help());
            let help = help.map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                help.lines().map(str::trim).filter(|line| line.starts_with("sextant ")).collect();
            assert!(!examples.is_empty(), "{path} has no example");
            assert!(help.contains("Exit codes"), "{path} does not explain its exit codes");
            for example in examples {
                // What a shell would take for itself ends the example.
                let words = words(example).into_iter().take_while(|word| !">|".contains(word));
                let spelled_out = example.replace("sextant env ", "sextant environment ");
                assert!(spelled_out.starts_with(path), "{example} stands under {path}");
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{example}: {error}");
                }
                seen += 1;
            }
        });
        assert!(seen > 60, "{seen}");
    }

    #[test]
    fn the_manual_describes_every_command() {
        let manual = include_str!("../../../docs/cli.md");
        every(&Cli::command(), "sextant", &mut |path, command| {
            if !command.has_subcommands() {
                assert!(manual.contains(&format!("`{path}")), "docs/cli.md lacks `{path}`");
            }
        });
        for line in EXIT_CODES.lines().skip(1) {
            let code = line.split_whitespace().next().expect("code");
            assert!(manual.contains(&format!("| {code} |")), "docs/cli.md lacks exit code {code}");
        }
    }

    #[test]
    fn only_plain_https_urls_are_taken() {
        for good in ["https://[fd5e::c1]:7443", "https://cp.example/", "https://[::1]"] {
            assert!(parse_api_url(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://cp.example", "https://"),
            ("cp.example:7443", "https://"),
            ("https://", "host"),
            ("https://a:b@cp.example", "password"),
            ("https://cp.example/v1", "end after"),
            ("", "write it like"),
        ] {
            let error = parse_api_url(bad).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn a_token_cannot_be_given_as_a_value() {
        every(&Cli::command(), "sextant", &mut |path, command| {
            for argument in command.get_arguments() {
                assert_ne!(argument.get_long(), Some("token"), "{path}");
            }
        });
    }
}
