//! `sextant network`.

use clap::Subcommand;
use sextant_api::resource::network::{Network, NetworkPatch, NewNetwork};
use sextant_model::{DnsLabel, IpStackMode, Prefix, Topology};

use crate::{
    args::{Globals, examples, one_of},
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    output::{Output, details, or_dash, word},
};

/// What to do with networks.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Make a network
    #[command(after_long_help = examples(&[
        "sextant network create mesh",
        "sextant network create mesh --prefix fd5e:c7a1:9b02::/48",
    ]))]
    Create {
        /// A new name, one DNS label
        name: DnsLabel,
        /// Its IPv6 prefix, /20 to /60, ULA or GUA; a random ULA /48 if not given
        #[arg(long)]
        prefix: Option<Prefix>,
        /// Address families; only ipv6 works today
        #[arg(long, default_value = "ipv6", value_parser = one_of::<IpStackMode>(&["ipv6", "ipv4", "dual"]))]
        ip_stack_mode: IpStackMode,
        /// How peers connect; only full-mesh works today
        #[arg(long, default_value = "full-mesh", value_parser = one_of::<Topology>(&["full-mesh", "hub"]))]
        topology: Topology,
    },
    /// List the networks
    #[command(visible_alias = "ls", after_long_help = examples(&["sextant network list", "sextant network list --json"]))]
    List,
    /// Show a network
    #[command(after_long_help = examples(&["sextant network show mesh"]))]
    Show {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Networks))]
        network: String,
    },
    /// Give a network another name
    #[command(after_long_help = examples(&["sextant network rename mesh backbone"]))]
    Rename {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Networks))]
        network: String,
        /// The new name
        new_name: DnsLabel,
    },
    /// Delete a network that has no nodes
    #[command(visible_aliases = ["rm", "remove"], after_long_help = examples(&["sextant network delete mesh", "sextant network delete mesh --yes"]))]
    Delete {
        /// Which one
        #[arg(value_name = "NAME|ID", add = completed(Things::Networks))]
        network: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Does it.
pub async fn run(
    command: &NetworkCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    match command {
        NetworkCommand::Create { name, prefix, ip_stack_mode, topology } => {
            let new = NewNetwork {
                name: name.clone(),
                ip_stack_mode: *ip_stack_mode,
                topology: *topology,
                ipv6_prefix: *prefix,
                ipv4_prefix: None,
            };
            let send = async |key: &str| client.create_network(&new, Some(key)).await;
            output.one(&lookup::create(send).await?.value, |made| described(made, output))?;
        }
        NetworkCommand::List => {
            output.list(&lookup::networks(&client).await?, |networks| listing(networks, output))?;
        }
        NetworkCommand::Show { network } => {
            let id = lookup::network_id(&client, network).await?;
            output.one(&client.network(id).await?.value, |found| described(found, output))?;
        }
        NetworkCommand::Rename { network, new_name } => {
            let id = lookup::network_id(&client, network).await?;
            let etag = client.network(id).await?.etag.unwrap_or_default();
            let patch = NetworkPatch { name: new_name.clone() };
            let renamed = client.patch_network(id, &patch, &etag).await?;
            output.one(&renamed.value, |found| described(found, output))?;
        }
        NetworkCommand::Delete { network, yes } => {
            let id = lookup::network_id(&client, network).await?;
            let found = client.network(id).await?;
            let name = &found.value.name;
            let question = format!("Delete network \"{name}\" ({id})?");
            if let Some(exit) = output.confirmed(*yes, &question).await? {
                return Ok(exit);
            }
            client.delete_network(id, found.etag.as_deref()).await?;
            output.note(&format!("network \"{name}\" deleted"));
            if output.json {
                output.json_line(&found.value)?;
            }
        }
    }
    Ok(Exit::Success)
}

fn listing(networks: &[Network], output: &Output) -> String {
    let rows = networks.iter().map(|network| {
        vec![
            network.name.to_string(),
            prefixes(network),
            word(&network.ip_stack_mode),
            word(&network.topology),
            output.moments.age(network.created_at),
            network.id.to_string(),
        ]
    });
    let age = output.moments.title("created at");
    output.table(&["name", "prefix", "ip stack", "topology", age, "+id"], rows)
}

fn described(network: &Network, output: &Output) -> String {
    details([
        ("name", network.name.to_string()),
        ("id", network.id.to_string()),
        ("prefix", prefixes(network)),
        ("ip stack mode", word(&network.ip_stack_mode)),
        ("topology", word(&network.topology)),
        ("created at", output.moments.full(network.created_at)),
        ("version", network.version.to_string()),
    ])
}

fn prefixes(network: &Network) -> String {
    match (network.ipv6_prefix, network.ipv4_prefix) {
        (Some(v6), Some(v4)) => format!("{v6},{v4}"),
        (v6, v4) => or_dash(v6.or(v4)),
    }
}
