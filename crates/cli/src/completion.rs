//! Completion at the shell's prompt. The script that `sextant completions` prints asks this program,
//! which knows its own words and asks the control plane for names.

use std::{collections::BTreeSet, ffi::OsString, io::Write, path::Path, time::Duration};

use clap::{Args, Command, CommandFactory, FromArgMatches};
use clap_complete::{
    engine::{ArgValueCandidates, CompletionCandidate},
    env::{CompleteEnv, Shells},
};
use sextant_api::{Client, client::RouteQuery, client::WorkloadQuery};

use crate::{
    args::{Cli, Globals},
    connection::connect,
    context::{self, Contexts},
    exit::Failure,
    lookup,
    named::Named,
};

/// The variable by which the script asks.
const VARIABLE: &str = "SEXTANT_COMPLETE";
/// Whoever presses a key waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
/// Environments whose hostnames are asked for, each with a request.
const MOST_ENVIRONMENTS: usize = 20;

/// What an argument takes the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Things {
    /// Contexts of this user.
    Contexts,
    /// Networks.
    Networks,
    /// Nodes.
    Nodes,
    /// Orgs.
    Orgs,
    /// Apps, as paths.
    Apps,
    /// Environments, as paths.
    Environments,
    /// Nodes that enrolment tokens were made for.
    Tokens,
    /// API tokens.
    ApiTokens,
    /// Hostnames of environments.
    Hostnames,
    /// Routes.
    Routes,
    /// Workloads, by id.
    Workloads,
}

/// Completes an argument with the names of `things`.
pub fn completed(things: Things) -> ArgValueCandidates {
    ArgValueCandidates::new(move || -> Vec<CompletionCandidate> {
        let words: Vec<String> =
            std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        let names = candidates(things, &words).unwrap_or_default();
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Answers a shell that asks for candidates, and says whether one did.
pub fn answer(arguments: &[OsString]) -> Result<bool, clap::Error> {
    let folder = std::env::current_dir().ok();
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .try_complete(arguments.iter().cloned(), folder.as_deref())
}

/// The script that makes `shell` ask.
pub fn script(shell: &str, to: &mut dyn Write) -> std::io::Result<()> {
    let completer = Shells::builtins();
    let completer = completer
        .completer(shell)
        .ok_or_else(|| std::io::Error::other(format!("no completion for the shell \"{shell}\"")))?;
    completer.write_registration(VARIABLE, "sextant", "sextant", "sextant", to)
}

/// What can be said here. Nothing, if nobody answers in time: a prompt is no place for errors.
fn candidates(things: Things, words: &[String]) -> Option<BTreeSet<String>> {
    if things == Things::Contexts {
        let contexts = Contexts::load(&context::default_path().ok()?).ok()?;
        return Some(contexts.contexts.keys().map(ToString::to_string).collect());
    }
    let globals = connection_in(words)?;
    // Standard input belongs to the shell.
    if globals.token_file.as_deref() == Some(Path::new("-")) {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let asking = async { names(&connect(&globals).await?, things).await };
        tokio::time::timeout(PATIENCE, asking).await.ok()?.ok()
    })
}

/// The connection options of a command line that is not complete yet.
fn connection_in(words: &[String]) -> Option<Globals> {
    const OPTIONS: [&str; 4] = ["--context", "--api-url", "--token-file", "--ca-file"];
    let mut given = vec!["sextant"];
    for (at, word) in words.iter().enumerate() {
        if OPTIONS.contains(&word.as_str()) {
            // The word that is being completed may be the value.
            given.extend(
                words.get(at + 1).map(|value| [word.as_str(), value.as_str()]).iter().flatten(),
            );
        } else if OPTIONS.iter().any(|option| word.starts_with(&format!("{option}="))) {
            given.push(word);
        }
    }
    let command = Globals::augment_args(Command::new("sextant"));
    Globals::from_arg_matches(&command.try_get_matches_from(given).ok()?).ok()
}

async fn names(client: &Client, things: Things) -> Result<BTreeSet<String>, Failure> {
    fn all<T: Named>(items: Vec<T>) -> BTreeSet<String> {
        items.iter().map(Named::name).collect()
    }
    Ok(match things {
        Things::Contexts => BTreeSet::new(),
        Things::Networks => all(lookup::networks(client).await?),
        Things::Nodes => all(lookup::nodes(client).await?),
        Things::Orgs => all(lookup::orgs(client).await?),
        Things::Apps => all(lookup::apps(client, None).await?),
        Things::Environments => all(lookup::environments(client, None, None).await?),
        Things::Tokens => {
            let tokens = lookup::enrolment_tokens(client).await?;
            tokens.iter().map(|token| token.node_name.to_string()).collect()
        }
        Things::ApiTokens => all(lookup::api_tokens(client).await?),
        Things::Hostnames => {
            let mut found = BTreeSet::new();
            let environments = lookup::environments(client, None, None).await?;
            for environment in environments.iter().take(MOST_ENVIRONMENTS) {
                found.extend(all(lookup::hostnames(client, environment.id).await?));
            }
            found
        }
        Things::Routes => all(lookup::routes(client, RouteQuery::default()).await?),
        Things::Workloads => all(lookup::workloads(client, WorkloadQuery::default()).await?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_of_an_unfinished_command_line_is_found() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let line = "sextant -- sextant node show --ca-file ca.crt --context=lab w --token-file";
        let found = connection_in(&words(line)).expect("options");
        assert_eq!(found.ca_file.as_deref(), Some(Path::new("ca.crt")));
        assert_eq!(found.context.expect("context").as_str(), "lab");
        assert!(connection_in(&words("sextant --api-url nonsense node")).is_none());
    }
}
