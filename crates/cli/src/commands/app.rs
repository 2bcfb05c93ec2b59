//! `sextant app`: the programs of an org.

use clap::Subcommand;
use sextant_api::resource::app::{App, NewApp};

use crate::{
    args::{Globals, examples},
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    named::Named,
    output::{Output, details},
    path::{AppPath, AppRef, OrgRef},
};

/// What to do with apps.
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Make an app
    #[command(after_long_help = examples(&["sextant app create shop/web"]))]
    Create {
        /// Whose it is, and a new name
        #[arg(value_name = "ORG/APP")]
        app: AppPath,
    },
    /// List the apps, all or those of one org
    #[command(visible_alias = "ls", after_long_help = examples(&["sextant app list", "sextant app list shop --json"]))]
    List {
        /// Only those of this org
        #[arg(value_name = "ORG|ID", add = completed(Things::Orgs))]
        org: Option<OrgRef>,
    },
    /// Delete an app that has no environments
    #[command(visible_aliases = ["rm", "remove"], after_long_help = examples(&["sextant app delete shop/web --yes"]))]
    Delete {
        /// Which one
        #[arg(value_name = "ORG/APP|ID", add = completed(Things::Apps))]
        app: AppRef,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Does it.
pub async fn run(
    command: &AppCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    match command {
        AppCommand::Create { app } => {
            let org = lookup::org_id(&client, &OrgRef::Name(app.org.clone())).await?;
            let new = NewApp { org_id: Some(org), name: app.app.clone() };
            let send = async |key: &str| client.create_app(&new, Some(key)).await;
            output.one(&lookup::create(send).await?.value, |made| described(made, output))?;
        }
        AppCommand::List { org } => {
            let org = match org {
                Some(org) => Some(lookup::org_id(&client, org).await?),
                None => None,
            };
            output.list(&lookup::apps(&client, org).await?, |apps| listing(apps, output))?;
        }
        AppCommand::Delete { app, yes } => {
            let id = lookup::app_id(&client, app).await?;
            let found = client.app(id).await?;
            let path = Named::name(&found.value);
            let question = format!("Delete app \"{path}\" ({id})?");
            if let Some(exit) = output.confirmed(*yes, &question).await? {
                return Ok(exit);
            }
            client.delete_app(id, found.etag.as_deref()).await?;
            output.done(&format!("app \"{path}\" deleted"), &found.value)?;
        }
    }
    Ok(Exit::Success)
}

fn listing(apps: &[App], output: &Output) -> String {
    let row =
        |app: &App| vec![Named::name(app), output.moments.age(app.created_at), app.id.to_string()];
    output.table(&["app", output.moments.title("created at"), "+id"], apps.iter().map(row))
}

fn described(app: &App, output: &Output) -> String {
    details([
        ("app", Named::name(app)),
        ("id", app.id.to_string()),
        ("org id", app.org_id.to_string()),
        ("created at", output.moments.full(app.created_at)),
        ("version", app.version.to_string()),
    ])
}
