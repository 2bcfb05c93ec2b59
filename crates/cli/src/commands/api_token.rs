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
use sextant_model::{DnsLabel, OperatorRole, OrgId, Timestamp, aggregate::api_token::LIFETIMES};

use crate::{
    args::{Globals, examples, one_of},
    commands::secret_output::SecretOutput,
    completion::{Things, completed},
    connection::connect,
    duration,
    exit::{Exit, Failure},
    lookup,
    output::{Output, Row, or_dash, word},
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
        #[arg(long, value_name = "NAME|ID", add = completed(Things::Orgs))]
        org: Option<OrgRef>,
        /// How long it works, 1m to 3650d; for ever if not given
        #[arg(long, value_name = "DURATION", value_parser = lifetime)]
        expires_in: Option<Duration>,
        /// Where the token goes
        #[command(flatten)]
        output: SecretOutput,
    },
    /// List the API tokens that are valid
    #[command(visible_alias = "ls", after_long_help = examples(&[
        "sextant api-token list",
        "sextant api-token list --all",
    ]))]
    List {
        /// Those that are revoked or expired, too
        #[arg(long)]
        all: bool,
    },
    /// Take access back
    #[command(visible_aliases = ["rm", "delete", "remove"], after_long_help = examples(&[
        "sextant api-token revoke deployer",
        "sextant api-token revoke 0198f7a2-4c1e",
    ]))]
    Revoke {
        /// Which one; `sextant api-token list` shows it
        #[arg(value_name = "NAME|ID", add = completed(Things::ApiTokens))]
        token: String,
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
        ApiTokenCommand::List { all } => {
            let client = connect(globals).await?;
            let mut tokens = lookup::api_tokens(&client).await?;
            let now = output.moments.now();
            // Programs get what there is.
            if !all && !output.json {
                tokens.retain(|token| state(token, now) == "valid");
            }
            let some_org = !output.json && tokens.iter().any(|token| token.org_id.is_some());
            let orgs = if some_org { lookup::orgs(&client).await? } else { Vec::new() };
            output.list(&tokens, |tokens| listing(tokens, &orgs, output))?;
        }
        ApiTokenCommand::Revoke { token } => {
            let client = connect(globals).await?;
            // Read first: it may be the token that this command asks with.
            let token = lookup::api_token(&client, token).await?;
            client.revoke_api_token(token.id).await?;
            let said = format!("API token {} \"{}\" revoked", token.id, token.name);
            output.done(&said, &ApiToken { revoked: true, ..token })?;
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
    let until = made.expires_at;
    let until = until.map_or_else(|| "it is revoked".into(), |at| output.moments.full(at));
    output.note(&format!(
        "API token {id} \"{}\" works as {} until {until}",
        made.name,
        word(&made.role)
    ));
    Ok(())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    duration::between(text, LIFETIMES, "leave the option out for ever")
}

fn listing(tokens: &[ApiToken], orgs: &[Org], output: &Output) -> String {
    let moments = &output.moments;
    let org_name = |id: OrgId| {
        let found = orgs.iter().find(|org| org.id == id);
        found.map_or_else(|| id.to_string(), |org| org.name.to_string())
    };
    let rows = tokens.iter().map(|token| {
        let state = state(token, moments.now());
        let cells = vec![
            token.name.to_string(),
            word(&token.role),
            or_dash(token.org_id.map(org_name)),
            state.into(),
            token.expires_at.map_or_else(|| "never".into(), |at| moments.relative(at)),
            moments.age(token.created_at),
            token.id.to_string(),
        ];
        Row::marked(cells, state == "expired")
    });
    let age = moments.title("created at");
    output.table(&["name", "role", "org", "state", "expires", age, "+id"], rows)
}

fn state(token: &ApiToken, now: Timestamp) -> &'static str {
    match token.expires_at {
        _ if token.revoked => "revoked",
        Some(at) if at <= now => "expired",
        _ => "valid",
    }
}
