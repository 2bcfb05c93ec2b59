//! What may stand on the command line. Each group of commands declares its own arguments beside
//! its code; here is what they share.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Args, FromArgMatches, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde::de::DeserializeOwned;
use sextant_model::DnsLabel;
use url::Url;

use crate::{
    commands,
    completion::{Things, completed},
    help,
    output::Format,
};

pub use crate::help::examples;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "sextant",
    version = sextant_daemon::VERSION,
    about = "The operator's command line of Sextant",
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

/// Options of every command: the connection, and how to answer. `sextant help options` describes
/// them once; help of every command would be twice as long otherwise.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Use this context instead of the current one
    #[arg(long, global = true, hide = true, value_name = "NAME", env = "SEXTANT_CONTEXT", add = completed(Things::Contexts))]
    pub context: Option<DnsLabel>,
    /// URL of a control plane, https://HOST[:PORT]; repeat it for several, tried in order
    #[arg(
        long = "api-url",
        global = true,
        hide = true,
        value_name = "URL",
        env = "SEXTANT_API_URLS",
        value_delimiter = ',',
        value_parser = parse_api_url
    )]
    pub api_urls: Vec<Url>,
    /// File that holds the API token; "-" reads it from standard input
    #[arg(long, global = true, hide = true, value_name = "PATH", env = "SEXTANT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// File that holds the control plane's CA certificate, PEM
    #[arg(long, global = true, hide = true, value_name = "PATH", env = "SEXTANT_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// How results are written: table, wide, json or name
    #[arg(short = 'o', long, global = true, value_name = "WORD", hide_possible_values = true, value_parser = one_of::<Format>(&["table", "wide", "json", "name"]))]
    pub format: Option<Format>,
    /// The same as --format json
    #[arg(long, global = true, hide = true)]
    pub json: bool,
    /// Moments in UTC, not how long ago they were
    #[arg(long, global = true, hide = true)]
    pub utc: bool,
}

impl Globals {
    /// How results are written.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format.unwrap_or_default() }
    }
}

/// The groups of commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Manage contexts: control planes by name
    #[command(subcommand, alias = "contexts")]
    Context(commands::context::ContextCommand),
    /// Make, list and change networks
    #[command(subcommand, alias = "networks")]
    Network(commands::network::NetworkCommand),
    /// List, change and remove nodes
    #[command(subcommand, alias = "nodes")]
    Node(commands::node::NodeCommand),
    /// Let machines in: enrolment tokens
    #[command(subcommand, alias = "tokens")]
    Token(commands::token::TokenCommand),
    /// Make, list and delete orgs, the tenants
    #[command(subcommand, alias = "orgs")]
    Org(commands::org::OrgCommand),
    /// Make, list and delete apps, the programs of an org
    #[command(subcommand, alias = "apps")]
    App(commands::app::AppCommand),
    /// Make, list and delete environments, the deployments of an app
    #[command(subcommand, visible_alias = "env", aliases = ["environments", "envs"])]
    Environment(commands::environment::EnvironmentCommand),
    /// Run so many workloads of each process type
    #[command(long_about = commands::deploy::ABOUT)]
    Deploy(commands::deploy::DeployArgs),
    /// Show what was deployed
    #[command(subcommand, alias = "releases")]
    Release(commands::release::ReleaseCommand),
    /// Register, list and withdraw workloads
    #[command(subcommand, alias = "workloads")]
    Workload(commands::workload::WorkloadCommand),
    /// Claim, prove and move the names environments answer to
    #[command(subcommand, alias = "hostnames")]
    Hostname(commands::hostname::HostnameCommand),
    /// Say which connections go where
    #[command(subcommand, alias = "routes")]
    Route(commands::route::RouteCommand),
    /// Say which ports environments may listen on
    #[command(subcommand, alias = "ports")]
    Port(commands::port::PortCommand),
    /// Show whether all edges serve the same
    #[command(subcommand, alias = "edges")]
    Edge(commands::edge::EdgeCommand),
    /// Give operators access: API tokens
    #[command(subcommand, alias = "api-tokens")]
    ApiToken(commands::api_token::ApiTokenCommand),
    /// Show what happened, and what happens
    #[command(aliases = ["event", "log", "logs"], long_about = commands::events::ABOUT)]
    Events(commands::events::EventsArgs),
    /// Show how the platform is doing
    #[command(long_about = commands::status::ABOUT)]
    Status(commands::status::StatusArgs),
    /// Look for what is wrong and say what to do about it
    #[command(long_about = commands::doctor::ABOUT)]
    Doctor(commands::doctor::DoctorArgs),
    /// Print a completion script for a shell
    Completions(commands::completions::CompletionsArgs),
    /// Print the version and the commit it was built from
    #[command(after_long_help = examples(&["sextant version", "sextant version -o json"]))]
    Version,
    /// Help topic: options of every command, and exit codes
    #[command(long_about = help::options(), after_long_help = examples(&["sextant help options"]))]
    Options,
    /// Write the manual pages
    #[command(hide = true)]
    Man(commands::man::ManArgs),
}

impl Cli {
    /// Reads a command line, and the environment for what it leaves out.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let mut matches = help::command_line(&arguments).try_get_matches_from(arguments)?;
        Self::from_arg_matches_mut(&mut matches)
    }
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
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;
    use crate::help::EXIT_CODES;

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
            if command.has_subcommands() || command.is_hide_set() {
                return;
            }
            let help = command.get_after_long_help().or(command.get_after_help());
            let help = help.map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                help.lines().map(str::trim).filter(|line| line.starts_with("sextant ")).collect();
            assert!(!examples.is_empty(), "{path} has no example");
            for example in examples {
                // What a shell would take for itself ends the example.
                let words = words(example).into_iter().take_while(|word| !">|".contains(word));
                let spelled_out = example.replace("sextant env ", "sextant environment ");
                let spelled_out = spelled_out.replace("sextant help ", "sextant ");
                assert!(spelled_out.starts_with(path), "{example} stands under {path}");
                if example.starts_with("sextant help ") {
                    continue;
                }
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{example}: {error}");
                }
                seen += 1;
            }
        });
        assert!(seen > 60, "{seen}");
    }

    #[test]
    fn an_option_that_cannot_be_read_is_answered_in_words_of_our_own() {
        let mut seen = 0;
        every(&Cli::command(), "sextant", &mut |path, command| {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let example = help.lines().map(str::trim).find(|line| line.starts_with("sextant "));
            let Some(example) = example.filter(|_| !command.has_subcommands()) else { return };
            let options =
                command.get_arguments().filter(|argument| argument.get_action().takes_values());
            for option in options.filter_map(clap::Arg::get_long) {
                let option = format!("--{option}");
                let mut words: Vec<&str> =
                    words(example).into_iter().take_while(|word| !">|".contains(word)).collect();
                if let Some(at) = words.iter().position(|word| *word == option) {
                    words.drain(at..at + 2);
                }
                words.extend([option.as_str(), "@@@"]);
                let Err(error) = Cli::try_parse_from(words) else { continue };
                if ![ErrorKind::ValueValidation, ErrorKind::InvalidValue].contains(&error.kind()) {
                    continue;
                }
                let text = error.to_string();
                seen += 1;
                assert!(text.contains("@@@"), "{path} {option}: {text}");
                for foreign in
                    ["invalid digit", "found `", "syntax", "expected", "invalid character"]
                {
                    assert!(!text.contains(foreign), "{path} {option}: {text}");
                }
            }
        });
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn the_manual_describes_every_command() {
        let manual = include_str!("../../../docs/cli.md");
        every(&Cli::command(), "sextant", &mut |path, command| {
            if !command.has_subcommands() && path != "sextant options" {
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
