//! `sextant api-token`: operators' access.

use std::time::Duration;

use clap::Subcommand;
use sextant_api::{
    Client,
    resource::{
        api_token::{ApiToken, NewApiToken},
        org::Org,
    },
};
use sextant_model::{ApiTokenId, DnsLabel, OperatorRole, OrgId, Timestamp};
use time::OffsetDateTime;

use crate::{
    args::{Globals, examples, one_of},
    commands::secret_output::SecretOutput,
    connection::connect,
    duration,
    exit::{Exit, Failure},
    lookup,
    output::{Output, or_dash, table, word},
    path::OrgRef,
};

/// What to do with API tokens.
#[derive(Debug, Subcommand)]
pub enum ApiTokenCommand {
    /// Give an operator or a program access; prints the token once
    #[command(after_long_help = examples(&[
        "sextant api-token create monitoring --role viewer --expires-in 30d",
        "sextant api-token create alice --role admin --output alice.token",
        "sextant api-token create deployer --org shop --role admin --expires-in 30d",
    ]))]
    Create {
        /// What or whom it is for
        name: DnsLabel,
        /// What it may do
        #[arg(long, value_parser = one_of::<OperatorRole>(&["viewer", "admin"]))]
        role: OperatorRole,
        /// Only for this org; for the platform if not given, or for the org of the token you ask with
        #[arg(long, value_name = "NAME|ID")]
        org: Option<OrgRef>,
        /// How long it works: 15m, 1h, 30d; for ever if not given
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        expires_in: Option<Duration>,
        /// Where the token goes
        #[command(flatten)]
        output: SecretOutput,
    },
    /// List the API tokens
    #[command(after_long_help = examples(&["sextant api-token list"]))]
    List,
    /// Take access back
    #[command(after_long_help = examples(&["sextant api-token revoke 0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e"]))]
    Revoke {
        /// Which one; `sextant api-token list` shows it
        id: ApiTokenId,
    },
}

/// Does it.
pub async fn run(
    command: &ApiTokenCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        ApiTokenCommand::Create { name, role, org, expires_in, output: file } => {
            file.check()?;
            let client = connect(globals).await?;
            let expires_in = expires_in.map(|span| span.as_secs());
            let org_id = match org {
                Some(org) => Some(lookup::org_id(&client, org).await?),
                None => None,
            };
            let new = NewApiToken { name: name.clone(), role: *role, org_id, expires_in };
            create(&client, &new, file, output).await?;
        }
        ApiTokenCommand::List => {
            let client = connect(globals).await?;
            let tokens = lookup::api_tokens(&client).await?;
            let some_org = !output.json && tokens.iter().any(|token| token.org_id.is_some());
            let orgs = if some_org { lookup::orgs(&client).await? } else { Vec::new() };
            let now = Timestamp(OffsetDateTime::now_utc());
            output.show(&tokens, |tokens| listing(tokens, &orgs, now))?;
        }
        ApiTokenCommand::Revoke { id } => {
            let client = connect(globals).await?;
            // Read first: it may be the token that this command asks with.
            let tokens = if output.json { lookup::api_tokens(&client).await? } else { Vec::new() };
            client.revoke_api_token(*id).await?;
            output.note(&format!("API token {id} revoked"));
            if let Some(token) = tokens.into_iter().find(|token| token.id == *id) {
                output.json_line(&ApiToken { revoked: true, ..token })?;
            }
        }
    }
    Ok(Exit::Success)
}

async fn create(
    client: &Client,
    new: &NewApiToken,
    file: &SecretOutput,
    output: &Output,
) -> Result<(), Failure> {
    let send = async |key: &str| client.create_api_token(new, Some(key)).await;
    let made = lookup::create(send).await?;
    let id = made.id;
    file.hand_over(
        output,
        made.clone(),
        |made| &mut made.token,
        async || client.revoke_api_token(id).await,
    )
    .await?;
    let until = made.expires_at.map_or_else(|| "it is revoked".into(), |until| until.to_string());
    output.note(&format!(
        "API token {id} \"{}\" works as {} until {until}",
        made.name,
        word(&made.role)
    ));
    Ok(())
}

fn listing(tokens: &[ApiToken], orgs: &[Org], now: Timestamp) -> String {
    let org_name = |id: OrgId| {
        let found = orgs.iter().find(|org| org.id == id);
        found.map_or_else(|| id.to_string(), |org| org.name.to_string())
    };
    let rows = tokens.iter().map(|token| {
        vec![
            token.id.to_string(),
            token.name.to_string(),
            word(&token.role),
            or_dash(token.org_id.map(org_name)),
            state(token, now).into(),
            token.expires_at.map_or_else(|| "never".into(), |at| at.to_string()),
            token.created_at.to_string(),
        ]
    });
    table(&["id", "name", "role", "org", "state", "expires at", "created at"], rows)
}

fn state(token: &ApiToken, now: Timestamp) -> &'static str {
    match token.expires_at {
        _ if token.revoked => "revoked",
        Some(at) if at <= now => "expired",
        _ => "valid",
    }
}
