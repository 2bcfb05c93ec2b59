//! `sextant token`: enrolment tokens, one per machine.

use std::time::Duration;

use clap::Subcommand;
use sextant_api::{
    Client,
    resource::{
        enrolment::{EnrolmentToken, EnrolmentTokenPhase, NewEnrolmentToken},
        network::Network,
    },
};
use sextant_model::{DnsLabel, EnrolmentTokenId, NodeRole, Timestamp};
use time::OffsetDateTime;

use crate::{
    args::{Globals, examples, one_of},
    commands::secret_output::SecretOutput,
    connection::connect,
    duration,
    exit::{Exit, Failure},
    lookup,
    output::{Output, listed, or_dash, table, word},
};

/// What to do with enrolment tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Invite a machine; prints the token once
    #[command(after_long_help = examples(&[
        "sextant token create --node worker-1",
        "sextant token create --node edge-1 --network mesh --role edge --expires-in 15m --output edge-1.token",
    ]))]
    Create {
        /// The name the machine will have
        #[arg(long, value_name = "NAME")]
        node: DnsLabel,
        /// The network it joins; may be left out if there is only one
        #[arg(long, value_name = "NAME|ID")]
        network: Option<String>,
        /// What it does; repeat it for several
        #[arg(long = "role", value_name = "ROLE", default_value = "worker", value_parser = one_of::<NodeRole>(&["worker", "edge", "jump"]))]
        roles: Vec<NodeRole>,
        /// How long the token works: 90s, 15m, 1h, 7d
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
        expires_in: Duration,
        /// Where the token goes
        #[command(flatten)]
        output: SecretOutput,
    },
    /// List the enrolment tokens
    #[command(after_long_help = examples(&["sextant token list"]))]
    List,
    /// Withdraw an enrolment token that was not used
    #[command(after_long_help = examples(&["sextant token revoke 0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e"]))]
    Revoke {
        /// Which one; `sextant token list` shows it
        id: EnrolmentTokenId,
    },
}

/// Does it.
pub async fn run(
    command: &TokenCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        TokenCommand::Create { node, network, roles, expires_in, output: file } => {
            file.check()?;
            let client = connect(globals).await?;
            let network_id = match network {
                Some(network) => lookup::network_id(&client, network).await?,
                None => lookup::only_network_id(&client).await?,
            };
            let (node_name, roles) = (node.clone(), roles.clone());
            let expires_in = expires_in.as_secs();
            let new = NewEnrolmentToken { network_id, node_name, roles, expires_in };
            create(&client, &new, file, output).await?;
        }
        TokenCommand::List => {
            let client = connect(globals).await?;
            let tokens = lookup::enrolment_tokens(&client).await?;
            let networks = if output.json { Vec::new() } else { lookup::networks(&client).await? };
            let now = Timestamp(OffsetDateTime::now_utc());
            output.show(&tokens, |tokens| listing(tokens, &networks, now))?;
        }
        TokenCommand::Revoke { id } => {
            connect(globals).await?.revoke_enrolment_token(*id).await?;
            output.note(&format!("enrolment token {id} revoked"));
        }
    }
    Ok(Exit::Success)
}

async fn create(
    client: &Client,
    new: &NewEnrolmentToken,
    file: &SecretOutput,
    output: &Output,
) -> Result<(), Failure> {
    let send = async |key: &str| client.create_enrolment_token(new, Some(key)).await;
    let made = lookup::create(send).await?;
    let id = made.id;
    file.hand_over(
        output,
        made.clone(),
        |made| &mut made.token,
        async || client.revoke_enrolment_token(id).await,
    )
    .await?;
    output.note(&format!(
        "enrolment token {id} works once, for node \"{}\", until {}",
        made.node_name, made.expires_at
    ));
    Ok(())
}

fn listing(tokens: &[EnrolmentToken], networks: &[Network], now: Timestamp) -> String {
    let rows = tokens.iter().map(|token| {
        let network = networks.iter().find(|network| network.id == token.network_id);
        vec![
            token.id.to_string(),
            token.node_name.to_string(),
            network.map_or_else(|| token.network_id.to_string(), |found| found.name.to_string()),
            listed(&token.roles),
            phase(token, now),
            token.expires_at.to_string(),
            or_dash(token.node_id),
        ]
    });
    table(&["id", "node", "network", "roles", "phase", "expires at", "node id"], rows)
}

fn phase(token: &EnrolmentToken, now: Timestamp) -> String {
    match token.phase {
        EnrolmentTokenPhase::Open if token.expires_at <= now => "expired".into(),
        phase => word(&phase),
    }
}
