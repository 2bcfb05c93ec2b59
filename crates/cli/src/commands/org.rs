//! `sextant org`: tenants.

use clap::Subcommand;
use serde::Serialize;
use sextant_api::resource::org::{NewOrg, NewOrgQuotas, Org, OrgQuota};
use sextant_model::{DnsLabel, quota::Quota};

use crate::{
    args::{Globals, examples},
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    output::{Output, details, table},
    path::OrgRef,
};

/// What to do with orgs.
#[derive(Debug, Subcommand)]
pub enum OrgCommand {
    /// Make an org
    #[command(after_long_help = examples(&["sextant org create shop"]))]
    Create {
        /// A new name, one DNS label
        name: DnsLabel,
    },
    /// List the orgs; with an org's token, that org
    #[command(visible_alias = "ls", after_long_help = examples(&["sextant org list", "sextant org list --json"]))]
    List,
    /// Show an org with its quotas: what it may have and what it has
    #[command(after_long_help = examples(&["sextant org show shop"]))]
    Show {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Orgs))]
        org: OrgRef,
    },
    /// Give an org limits of its own, in place of those it had; without any, the platform's hold
    #[command(after_long_help = examples(&[
        "sextant org quota shop workloads=500 routes=50",
        "sextant org quota shop",
    ]))]
    Quota {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Orgs))]
        org: OrgRef,
        /// Quotas with their limits
        #[arg(value_name = "QUOTA=LIMIT", value_parser = own_limit)]
        limits: Vec<(Quota, u64)>,
    },
    /// Delete an org that has no apps, and revoke its API tokens
    #[command(visible_aliases = ["rm", "remove"], after_long_help = examples(&["sextant org delete shop", "sextant org delete shop --yes"]))]
    Delete {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Orgs))]
        org: OrgRef,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Does it.
pub async fn run(
    command: &OrgCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    match command {
        OrgCommand::Create { name } => {
            let new = NewOrg { name: name.clone() };
            let send = async |key: &str| client.create_org(&new, Some(key)).await;
            output.one(&lookup::create(send).await?.value, |made| described(made, output))?;
        }
        OrgCommand::List => {
            output.list(&lookup::orgs(&client).await?, |orgs| listing(orgs, output))?;
        }
        OrgCommand::Show { org } => {
            let id = lookup::org_id(&client, org).await?;
            let found = client.org(id).await?.value;
            let quotas = client.org_quotas(id).await?.quotas;
            output.show(&Shown { org: found, quotas }, |shown| {
                format!("{}\n{}", described(&shown.org, output), quotas_of(&shown.quotas))
            })?;
        }
        OrgCommand::Quota { org, limits } => {
            let id = lookup::org_id(&client, org).await?;
            let new = NewOrgQuotas { limits: limits.iter().copied().collect() };
            output.show(&client.set_org_quotas(id, &new).await?, |set| quotas_of(&set.quotas))?;
        }
        OrgCommand::Delete { org, yes } => {
            let id = lookup::org_id(&client, org).await?;
            let found = client.org(id).await?;
            let name = &found.value.name;
            let question = format!("Delete org \"{name}\" ({id}) and revoke its API tokens?");
            if let Some(exit) = output.confirmed(*yes, &question).await? {
                return Ok(exit);
            }
            client.delete_org(id, found.etag.as_deref()).await?;
            output.done(&format!("org \"{name}\" deleted"), &found.value)?;
        }
    }
    Ok(Exit::Success)
}

/// An org with its quotas.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    org: Org,
    quotas: Vec<OrgQuota>,
}

fn own_limit(text: &str) -> Result<(Quota, u64), String> {
    let (quota, limit) = text.split_once('=').ok_or("write QUOTA=LIMIT, for example routes=50")?;
    let quota = quota.parse::<Quota>().map_err(|error| error.to_string())?;
    let limit = limit.parse().map_err(|_| format!("\"{limit}\" is no number"))?;
    Ok((quota, limit))
}

fn quotas_of(quotas: &[OrgQuota]) -> String {
    let rows = quotas.iter().map(|quota| {
        let used = quota.used.map_or_else(|| "-".to_owned(), |used| used.to_string());
        let set_by = if quota.own { "org" } else { "platform" };
        vec![quota.quota.to_string(), used, quota.limit.to_string(), set_by.to_owned()]
    });
    table(&["quota", "used", "limit", "limit of"], rows)
}

fn listing(orgs: &[Org], output: &Output) -> String {
    let row = |org: &Org| {
        vec![org.name.to_string(), output.moments.age(org.created_at), org.id.to_string()]
    };
    output.table(&["name", output.moments.title("created at"), "+id"], orgs.iter().map(row))
}

fn described(org: &Org, output: &Output) -> String {
    details([
        ("name", org.name.to_string()),
        ("id", org.id.to_string()),
        ("created at", output.moments.full(org.created_at)),
        ("version", org.version.to_string()),
    ])
}
