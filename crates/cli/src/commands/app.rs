//! `sextant app`: the programs of an org.

use clap::Subcommand;
use sextant_api::resource::app::{App, NewApp};

use crate::{
    args::{Globals, examples},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    output::{Output, details, table},
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
    #[command(after_long_help = examples(&["sextant app list", "sextant app list shop --json"]))]
    List {
        /// Only those of this org
        #[arg(value_name = "ORG|ID")]
        org: Option<OrgRef>,
    },
    /// Delete an app that has no environments
    #[command(after_long_help = examples(&["sextant app delete shop/web --yes"]))]
    Delete {
        /// Which one
        #[arg(value_name = "ORG/APP|ID")]
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
            output.show(&lookup::create(send).await?.value, described)?;
        }
        AppCommand::List { org } => {
            let org = match org {
                Some(org) => Some(lookup::org_id(&client, org).await?),
                None => None,
            };
            output.show(&lookup::apps(&client, org).await?, |apps| listing(apps))?;
        }
        AppCommand::Delete { app, yes } => {
            let id = lookup::app_id(&client, app).await?;
            let found = client.app(id).await?;
            let path = path(&found.value);
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

fn path(app: &App) -> String {
    format!("{}/{}", app.org_name, app.name)
}

fn listing(apps: &[App]) -> String {
    let rows =
        apps.iter().map(|app| vec![path(app), app.created_at.to_string(), app.id.to_string()]);
    table(&["app", "created at", "id"], rows)
}

fn described(app: &App) -> String {
    details([
        ("app", path(app)),
        ("id", app.id.to_string()),
        ("org id", app.org_id.to_string()),
        ("created at", app.created_at.to_string()),
        ("version", app.version.to_string()),
    ])
}
