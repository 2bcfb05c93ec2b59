//! `sextant environment`: deployments of an app.

use std::collections::BTreeMap;

use clap::Subcommand;
use sextant_api::{
    Client,
    resource::environment::{Environment, NewEnvironment},
};
use sextant_model::NetworkId;

use crate::{
    args::{Globals, examples},
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    output::{Output, details},
    path::{EnvironmentPath, EnvironmentRef, OrgRef, Within},
};

/// What to do with environments.
#[derive(Debug, Subcommand)]
pub enum EnvironmentCommand {
    /// Make an environment
    #[command(after_long_help = examples(&[
        "sextant environment create shop/web/production",
        "sextant env create shop/web/staging --network mesh",
    ]))]
    Create {
        /// Which app will run in it, and a new name
        #[arg(value_name = "ORG/APP/ENVIRONMENT")]
        environment: EnvironmentPath,
        /// The network its workloads will live in; may be left out if there is only one
        #[arg(long, value_name = "NAME|ID", add = completed(Things::Networks))]
        network: Option<String>,
    },
    /// List the environments: all, or those of an org or an app
    #[command(visible_alias = "ls", after_long_help = examples(&[
        "sextant environment list",
        "sextant environment list shop/web --json",
    ]))]
    List {
        /// Only those of this org or app
        #[arg(value_name = "ORG[/APP]", add = completed(Things::Apps))]
        within: Option<Within>,
    },
    /// Show an environment
    #[command(after_long_help = examples(&["sextant environment show shop/web/production"]))]
    Show {
        /// Which one
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: EnvironmentRef,
    },
    /// Delete an environment without routes and workloads; its hostnames are given back
    #[command(visible_aliases = ["rm", "remove"], after_long_help = examples(&["sextant environment delete shop/web/staging --yes"]))]
    Delete {
        /// Which one
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: EnvironmentRef,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Does it.
pub async fn run(
    command: &EnvironmentCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    match command {
        EnvironmentCommand::Create { environment, network } => {
            let made = create(&client, environment, network.as_deref()).await?;
            let networks = network_names(&client, output).await?;
            output.one(&made, |made| described(made, &networks, output))?;
        }
        EnvironmentCommand::List { within } => {
            let found = list(&client, within.as_ref()).await?;
            let networks = network_names(&client, output).await?;
            output.list(&found, |found| listing(found, &networks, output))?;
        }
        EnvironmentCommand::Show { environment } => {
            let id = lookup::environment_id(&client, environment).await?;
            let found = client.environment(id).await?.value;
            let networks = network_names(&client, output).await?;
            output.one(&found, |found| described(found, &networks, output))?;
        }
        EnvironmentCommand::Delete { environment, yes } => {
            let id = lookup::environment_id(&client, environment).await?;
            let found = client.environment(id).await?;
            let path = found.value.path();
            let question = format!("Delete environment \"{path}\" ({id})?");
            if let Some(exit) = output.confirmed(*yes, &question).await? {
                return Ok(exit);
            }
            client.delete_environment(id, found.etag.as_deref()).await?;
            output.done(&format!("environment \"{path}\" deleted"), &found.value)?;
        }
    }
    Ok(Exit::Success)
}

async fn create(
    client: &Client,
    path: &EnvironmentPath,
    network: Option<&str>,
) -> Result<Environment, Failure> {
    let app_id = lookup::app_at(client, &path.app).await?;
    // Which network is the only one is for the control plane to say: an org may not list them.
    let network_id = match network {
        Some(network) => Some(lookup::network_id(client, network).await?),
        None => None,
    };
    let new = NewEnvironment { app_id, name: path.environment.clone(), network_id };
    let send = async |key: &str| client.create_environment(&new, Some(key)).await;
    Ok(lookup::create(send).await?.value)
}

async fn list(client: &Client, within: Option<&Within>) -> Result<Vec<Environment>, Failure> {
    let (org, app) = match within {
        None => (None, None),
        Some(Within::Org(org)) => {
            (Some(lookup::org_id(client, &OrgRef::Name(org.clone())).await?), None)
        }
        Some(Within::App(path)) => (None, Some(lookup::app_at(client, path).await?)),
    };
    lookup::environments(client, org, app).await
}

/// What networks are called. An org may not list them, and is shown ids.
async fn network_names(
    client: &Client,
    output: &Output,
) -> Result<BTreeMap<NetworkId, String>, Failure> {
    if output.json {
        return Ok(BTreeMap::new());
    }
    match lookup::networks(client).await {
        Ok(found) => Ok(found.into_iter().map(|one| (one.id, one.name.to_string())).collect()),
        Err(failure) if failure.is_forbidden() => Ok(BTreeMap::new()),
        Err(failure) => Err(failure),
    }
}

fn network(environment: &Environment, names: &BTreeMap<NetworkId, String>) -> String {
    let id = environment.network_id;
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

fn listing(
    environments: &[Environment],
    networks: &BTreeMap<NetworkId, String>,
    output: &Output,
) -> String {
    let rows = environments.iter().map(|environment| {
        vec![
            environment.path(),
            network(environment, networks),
            output.moments.age(environment.created_at),
            environment.id.to_string(),
        ]
    });
    let age = output.moments.title("created at");
    output.table(&["environment", "network", age, "+id"], rows)
}

fn described(
    environment: &Environment,
    networks: &BTreeMap<NetworkId, String>,
    output: &Output,
) -> String {
    details([
        ("environment", environment.path()),
        ("id", environment.id.to_string()),
        ("org id", environment.org_id.to_string()),
        ("app id", environment.app_id.to_string()),
        ("network", network(environment, networks)),
        ("created at", output.moments.full(environment.created_at)),
        ("version", environment.version.to_string()),
    ])
}
