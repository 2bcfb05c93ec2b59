//! `sextant environment`: deployments of an app.

use clap::Subcommand;
use sextant_api::{
    Client,
    resource::environment::{Environment, NewEnvironment},
};

use crate::{
    args::{Globals, examples},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    output::{Output, details, table},
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
        #[arg(long, value_name = "NAME|ID")]
        network: Option<String>,
    },
    /// List the environments: all, or those of an org or an app
    #[command(after_long_help = examples(&[
        "sextant environment list",
        "sextant environment list shop/web --json",
    ]))]
    List {
        /// Only those of this org or app
        #[arg(value_name = "ORG[/APP]")]
        within: Option<Within>,
    },
    /// Show an environment
    #[command(after_long_help = examples(&["sextant environment show shop/web/production"]))]
    Show {
        /// Which one
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID")]
        environment: EnvironmentRef,
    },
    /// Delete an environment without routes and workloads; its hostnames are given back
    #[command(after_long_help = examples(&["sextant environment delete shop/web/staging --yes"]))]
    Delete {
        /// Which one
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID")]
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
            output.show(&made, described)?;
        }
        EnvironmentCommand::List { within } => {
            let found = list(&client, within.as_ref()).await?;
            output.show(&found, |found| listing(found))?;
        }
        EnvironmentCommand::Show { environment } => {
            let id = lookup::environment_id(&client, environment).await?;
            output.show(&client.environment(id).await?.value, described)?;
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

fn listing(environments: &[Environment]) -> String {
    let rows = environments.iter().map(|environment| {
        vec![
            environment.path(),
            environment.network_id.to_string(),
            environment.created_at.to_string(),
            environment.id.to_string(),
        ]
    });
    table(&["environment", "network id", "created at", "id"], rows)
}

fn described(environment: &Environment) -> String {
    details([
        ("environment", environment.path()),
        ("id", environment.id.to_string()),
        ("org id", environment.org_id.to_string()),
        ("app id", environment.app_id.to_string()),
        ("network id", environment.network_id.to_string()),
        ("created at", environment.created_at.to_string()),
        ("version", environment.version.to_string()),
    ])
}
