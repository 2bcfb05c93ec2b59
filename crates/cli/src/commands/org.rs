//! `sextant org`: tenants.

use clap::Subcommand;
use sextant_api::resource::org::{NewOrg, Org};
use sextant_model::DnsLabel;

use crate::{
    args::{Globals, examples},
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    output::{Output, details},
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
