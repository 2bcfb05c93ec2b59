//! `sextant port`: which ports environments may listen on.

use std::{collections::BTreeMap, str::FromStr};

use clap::{Args, Subcommand};
use sextant_api::{
    Client,
    resource::port::{NewPortGrant, NewPortPolicy, PortGrant, PortPolicy},
};
use sextant_model::{ActorId, EnvironmentId, port::PortRange};
use uuid::Uuid;

use crate::{
    args::{Globals, examples},
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    output::{Output, details, table},
    path::EnvironmentRef,
    values,
};

/// What to do about ports.
#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// Show or change which ports are open to all, and which to none
    #[command(after_long_help = examples(&["sextant port policy", "sextant port policy set --deny 25,5432"]))]
    Policy {
        /// Show it, or change it; shows it if not given
        #[command(subcommand)]
        command: Option<PolicyCommand>,
    },
    /// Open a port to one environment that the policy does not open to all
    #[command(after_long_help = examples(&[
        "sextant port grant shop/web/production 5432 --reason 'customer database, ticket 4711'",
    ]))]
    Grant {
        /// To which one
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: EnvironmentRef,
        /// Which port
        #[arg(value_parser = values::port)]
        port: u16,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take a grant back that no route uses
    #[command(visible_aliases = ["rm", "delete", "remove"], after_long_help = examples(&["sextant port revoke shop/web/production 5432"]))]
    Revoke {
        /// From which one
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: EnvironmentRef,
        /// Which port
        #[arg(value_parser = values::port)]
        port: u16,
    },
    /// List the grants: all, or those of an environment
    #[command(visible_aliases = ["list", "ls"], after_long_help = examples(&[
        "sextant port grants",
        "sextant port grants shop/web/production",
    ]))]
    Grants {
        /// Only those of this environment
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: Option<EnvironmentRef>,
    },
}

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show the policy
    #[command(after_long_help = examples(&["sextant port policy show --json"]))]
    Show,
    /// Change the policy; what is not given stays. Routes that are there go on
    #[command(after_long_help = examples(&[
        "sextant port policy set --allow 8000-8099,9443",
        "sextant port policy set --allow none --deny 25,5432",
    ]))]
    Set(NewPolicy),
}

/// What the policy becomes.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub struct NewPolicy {
    /// Open to every environment, besides 80 and 443: ports and ranges with commas, or "none"
    #[arg(long, value_name = "PORTS")]
    allow: Option<PortRanges>,
    /// Open to none, whatever else says so: ports and ranges with commas, or "none"
    #[arg(long, value_name = "PORTS")]
    deny: Option<PortRanges>,
}

/// `8000-8099,9443`, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRanges(Vec<PortRange>);

impl FromStr for PortRanges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let ranges = text.split(',').map(|part| part.trim().parse::<PortRange>());
        ranges.collect::<Result<_, _>>().map(Self).map_err(|error| error.to_string())
    }
}

/// Does it.
pub async fn run(
    command: &PortCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    match command {
        PortCommand::Policy { command: None | Some(PolicyCommand::Show) } => {
            show_policy(&client, &client.port_policy().await?.value, output).await?;
        }
        PortCommand::Policy { command: Some(PolicyCommand::Set(new)) } => {
            show_policy(&client, &set(&client, new).await?, output).await?;
        }
        PortCommand::Grant { environment, port, reason } => {
            let id = lookup::environment_id(&client, environment).await?;
            let new = NewPortGrant { port: *port, reason: reason.clone() };
            let send = async |key: &str| client.grant_port(id, &new, Some(key)).await;
            let granted = lookup::create(send).await?;
            let names = Names::load(&client, output).await?;
            output
                .one(&granted, |granted| listing(std::slice::from_ref(granted), &names, output))?;
        }
        PortCommand::Revoke { environment, port } => {
            let id = lookup::environment_id(&client, environment).await?;
            let grants = lookup::port_grants(&client, id).await?;
            let Some(grant) = grants.into_iter().find(|grant| grant.port == *port) else {
                return Err(Failure::NotFound(format!(
                    "environment \"{environment}\" has no grant of port {port}; `sextant port \
                     grants {environment}` shows all"
                )));
            };
            client.revoke_port_grant(id, *port).await?;
            output
                .done(&format!("port {port} is not granted to {environment} any more"), &grant)?;
        }
        PortCommand::Grants { environment } => {
            let found = match environment {
                Some(environment) => {
                    let id = lookup::environment_id(&client, environment).await?;
                    lookup::port_grants(&client, id).await?
                }
                None => every_grant(&client).await?,
            };
            let names = Names::load(&client, output).await?;
            output.list(&found, |found| listing(found, &names, output))?;
        }
    }
    Ok(Exit::Success)
}

/// The grants of every environment, each asked for by itself.
async fn every_grant(client: &Client) -> Result<Vec<PortGrant>, Failure> {
    let mut found = Vec::new();
    for environment in lookup::environments(client, None, None).await? {
        found.extend(lookup::port_grants(client, environment.id).await?);
    }
    Ok(found)
}

/// What environments and API tokens are called, for people.
#[derive(Debug, Default)]
struct Names {
    environments: BTreeMap<EnvironmentId, String>,
    tokens: BTreeMap<Uuid, String>,
}

impl Names {
    async fn load(client: &Client, output: &Output) -> Result<Self, Failure> {
        if output.json {
            return Ok(Self::default());
        }
        let environments = lookup::environments(client, None, None).await?;
        let tokens = match lookup::api_tokens(client).await {
            Err(failure) if failure.is_forbidden() => Vec::new(),
            found => found?,
        };
        Ok(Self {
            environments: environments.iter().map(|one| (one.id, one.path())).collect(),
            tokens: tokens.iter().map(|one| (one.id.0, one.name.to_string())).collect(),
        })
    }

    fn environment(&self, id: EnvironmentId) -> String {
        self.environments.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn actor(&self, id: ActorId) -> String {
        self.tokens.get(&id.0).cloned().unwrap_or_else(|| id.to_string())
    }
}

async fn show_policy(client: &Client, policy: &PortPolicy, output: &Output) -> Result<(), Failure> {
    let names = if policy.out_of_policy.is_empty() {
        Names::default()
    } else {
        Names::load(client, output).await?
    };
    output.show(policy, |policy| described(policy, &names))
}

async fn set(client: &Client, new: &NewPolicy) -> Result<PortPolicy, Failure> {
    let found = client.port_policy().await?;
    let chosen = |given: &Option<PortRanges>, present: Vec<PortRange>| {
        given.clone().map_or(present, |ranges| ranges.0)
    };
    let new = NewPortPolicy {
        allow: chosen(&new.allow, found.value.allow),
        deny: chosen(&new.deny, found.value.deny),
    };
    Ok(client.set_port_policy(&new, found.etag.as_deref()).await?.value)
}

fn ranges(ranges: &[PortRange]) -> String {
    let words: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    if words.is_empty() { "none".into() } else { words.join(",") }
}

/// 80 and 443 are open unless denied.
fn open_to_all(allowed: &[PortRange]) -> String {
    if allowed.is_empty() { "80,443".into() } else { format!("80,443,{}", ranges(allowed)) }
}

fn described(policy: &PortPolicy, names: &Names) -> String {
    let text = details([
        ("open to all", open_to_all(&policy.allow)),
        ("open to none", ranges(&policy.deny)),
        ("version", policy.version.to_string()),
    ]);
    if policy.out_of_policy.is_empty() {
        return text;
    }
    let rows = policy.out_of_policy.iter().map(|route| {
        let port = route.listen_port.to_string();
        vec![port, names.environment(route.environment_id), route.route_id.to_string()]
    });
    let routes = table(&["port", "environment", "route id"], rows);
    let more = if policy.more_out_of_policy { "and more that are not named here\n" } else { "" };
    format!("{text}\nroutes that go on although they could not be created now:\n{routes}{more}")
}

fn listing(grants: &[PortGrant], names: &Names, output: &Output) -> String {
    let rows = grants.iter().map(|grant| {
        vec![
            names.environment(grant.environment_id),
            grant.port.to_string(),
            names.actor(grant.granted_by),
            output.moments.age(grant.granted_at),
            grant.reason.clone(),
        ]
    });
    let age = output.moments.title("granted at");
    output.table(&["environment", "port", "granted by", age, "reason"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_with_commas_and_none_is_a_word() {
        let read = |text: &str| text.parse::<PortRanges>().map(|ports| ranges(&ports.0));
        assert_eq!(read("8000-8099,9443").as_deref(), Ok("8000-8099,9443"));
        assert_eq!(read("none").as_deref(), Ok("none"));
        for bad in ["", "25,", "0", "99-9", "none,25"] {
            assert!(read(bad).expect_err(bad).contains("FIRST-LAST"), "{bad}");
        }
    }
}
