//! `sextant org`: tenants.

use clap::Subcommand;
use sextant_api::resource::org::{NewOrg, Org};
use sextant_model::DnsLabel;

use crate::{
    args::{Globals, examples},
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
    #[command(after_long_help = examples(&["sextant org list", "sextant org list --json"]))]
    List,
    /// Delete an org that has no apps, and revoke its API tokens
    #[command(after_long_help = examples(&["sextant org delete shop", "sextant org delete shop --yes"]))]
    Delete {
        /// Which one
        #[arg(value_name = "NAME|ID")]
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
            output.show(&lookup::create(send).await?.value, described)?;
        }
        OrgCommand::List => output.show(&lookup::orgs(&client).await?, |orgs| listing(orgs))?,
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

fn listing(orgs: &[Org]) -> String {
    let rows = orgs
        .iter()
        .map(|org| vec![org.name.to_string(), org.created_at.to_string(), org.id.to_string()]);
    table(&["name", "created at", "id"], rows)
}

fn described(org: &Org) -> String {
    details([
        ("name", org.name.to_string()),
        ("id", org.id.to_string()),
        ("created at", org.created_at.to_string()),
        ("version", org.version.to_string()),
    ])
}
