//! `sextant token`: enrolment tokens, one per machine.

use std::time::Duration;

use clap::Subcommand;
use sextant_api::{
    Client,
    resource::{
        enrolment::{EnrolmentToken, EnrolmentTokenPhase, NewEnrolmentToken},
        network::Network,
        node::NodePhase,
    },
};
use sextant_model::{DnsLabel, NodeRole, Timestamp, aggregate::enrolment_token::LIFETIMES};

use crate::{
    args::{Globals, examples, one_of},
    commands::secret_output::SecretOutput,
    completion::{Things, completed},
    connection::connect,
    duration,
    exit::{Exit, Failure},
    lookup,
    output::{Output, listed, or_dash, word},
};

/// What to do with enrolment tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Let a machine in; prints the token once
    #[command(after_long_help = examples(&[
        "sextant token create --node worker-1",
        "sextant token create --node edge-1 --network mesh --role edge --expires-in 15m --output edge-1.token",
    ]))]
    Create {
        /// The name the machine will have
        #[arg(long, value_name = "NAME")]
        node: DnsLabel,
        /// The network it joins; may be left out if there is only one
        #[arg(long, value_name = "NAME|ID", add = completed(Things::Networks))]
        network: Option<String>,
        /// What it does; repeat it for several
        #[arg(long = "role", value_name = "ROLE", default_value = "worker", value_parser = one_of::<NodeRole>(&["worker", "edge", "jump"]))]
        roles: Vec<NodeRole>,
        /// How long the token works, 1m to 30d
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = lifetime)]
        expires_in: Duration,
        /// Where the token goes
        #[command(flatten)]
        output: SecretOutput,
    },
    /// List the enrolment tokens that can still be used
    #[command(visible_alias = "ls", after_long_help = examples(&[
        "sextant token list",
        "sextant token list --all --network mesh",
    ]))]
    List {
        /// Those that are used, revoked or expired, too
        #[arg(long)]
        all: bool,
        /// Only those for this network
        #[arg(long, value_name = "NAME|ID", add = completed(Things::Networks))]
        network: Option<String>,
    },
    /// Withdraw an enrolment token that was not used
    #[command(visible_aliases = ["rm", "delete", "remove"], after_long_help = examples(&[
        "sextant token revoke worker-1",
        "sextant token revoke 0198f7a2-4c1e",
    ]))]
    Revoke {
        /// The node it was made for, or its id; `sextant token list` shows both
        #[arg(value_name = "NODE|ID", add = completed(Things::Tokens))]
        token: String,
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
            warn_of_namesake(&client, &new, output).await?;
            create(&client, &new, file, output).await?;
        }
        TokenCommand::List { all, network } => {
            let client = connect(globals).await?;
            let mut tokens = lookup::enrolment_tokens(&client).await?;
            if let Some(network) = network {
                let id = lookup::network_id(&client, network).await?;
                tokens.retain(|token| token.network_id == id);
            }
            let now = output.moments.now();
            // Programs get what there is.
            if !all && !output.json {
                tokens.retain(|token| phase(token, now) == "open");
            }
            let networks = if output.json { Vec::new() } else { lookup::networks(&client).await? };
            output.list(&tokens, |tokens| listing(tokens, &networks, output))?;
        }
        TokenCommand::Revoke { token } => {
            let client = connect(globals).await?;
            revoke(&client, token, output).await?;
        }
    }
    Ok(Exit::Success)
}

/// A node that has the name already makes the token useless for now, which the machine would learn
/// first.
async fn warn_of_namesake(
    client: &Client,
    new: &NewEnrolmentToken,
    output: &Output,
) -> Result<(), Failure> {
    let name = &new.node_name;
    let nodes = lookup::nodes(client).await?;
    let namesake =
        nodes.iter().find(|node| node.name == *name && node.network_id == new.network_id);
    if let Some(node) = namesake {
        let until = match node.phase {
            NodePhase::Active => format!("removed (`sextant node remove {}`)", node.id),
            NodePhase::Withdrawn | NodePhase::Released => "gone; it is leaving".into(),
        };
        output.notice(&format!(
            "warning: a node \"{name}\" exists in this network; enrolment is refused until it is {until}"
        ));
    }
    Ok(())
}

/// Withdraws a token that can still be used. Taking back one that was used would change nothing:
/// the node is there.
async fn revoke(client: &Client, wanted: &str, output: &Output) -> Result<(), Failure> {
    let mut token = lookup::enrolment_token(client, wanted).await?;
    let id = token.id;
    let said = match token.phase {
        EnrolmentTokenPhase::Used => return Err(used(client, &token).await?),
        EnrolmentTokenPhase::Revoked => "was revoked already",
        EnrolmentTokenPhase::Open => {
            client.revoke_enrolment_token(id).await?;
            token.phase = EnrolmentTokenPhase::Revoked;
            "revoked"
        }
    };
    output.done(&format!("enrolment token {id} for \"{}\" {said}", token.node_name), &token)
}

/// Why a used token cannot be revoked, and what may be meant instead.
async fn used(client: &Client, token: &EnrolmentToken) -> Result<Failure, Failure> {
    let name = &token.node_name;
    let active = match token.node_id {
        Some(id) => client.node(id).await?.value.phase == NodePhase::Active,
        None => false,
    };
    let rest = if active {
        format!("use `sextant node remove {name}`")
    } else {
        "that node leaves or has left, so there is nothing to take back".into()
    };
    Ok(Failure::Conflict(format!(
        "enrolment token {} was already used by node {name}; {rest}",
        token.id
    )))
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
        made.node_name,
        output.moments.full(made.expires_at)
    ));
    Ok(())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    duration::between(text, LIFETIMES, "a machine that comes later gets another token")
}

fn listing(tokens: &[EnrolmentToken], networks: &[Network], output: &Output) -> String {
    let moments = &output.moments;
    let rows = tokens.iter().map(|token| {
        let network = networks.iter().find(|network| network.id == token.network_id);
        vec![
            token.node_name.to_string(),
            network.map_or_else(|| token.network_id.to_string(), |found| found.name.to_string()),
            listed(&token.roles),
            phase(token, moments.now()),
            moments.relative(token.expires_at),
            token.id.to_string(),
            or_dash(token.node_id),
        ]
    });
    output.table(&["node", "network", "roles", "phase", "expires", "+id", "+node id"], rows)
}

fn phase(token: &EnrolmentToken, now: Timestamp) -> String {
    match token.phase {
        EnrolmentTokenPhase::Open if token.expires_at <= now => "expired".into(),
        phase => word(&phase),
    }
}
