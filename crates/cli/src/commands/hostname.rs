//! `sextant hostname`: the names environments answer to.

use clap::Subcommand;
use sextant_api::{
    Client,
    client::RouteQuery,
    resource::{
        hostname::{
            EnvironmentHostname, HostnameChallenge, HostnameMove, HostnameState, NewHostname,
        },
        route::Route,
    },
};
use sextant_model::HostPattern;

use crate::{
    args::{Globals, examples},
    completion::{Things, completed},
    connection::connect,
    exit::{Exit, Failure},
    lookup,
    output::{Output, details, word},
    path::EnvironmentRef,
    values,
};

/// How long resolvers may keep the record that proves a name, in seconds.
const CHALLENGE_TTL: u32 = 300;

/// What to do with hostnames.
#[derive(Debug, Subcommand)]
pub enum HostnameCommand {
    /// Claim a hostname; prints the TXT record that proves it, if a proof is needed
    #[command(after_long_help = examples(&[
        "sextant hostname claim shop/web/production shop.example.com",
        "sextant hostname claim shop/web/production '*.shop.example.com'",
    ]))]
    Claim {
        /// For which environment
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: EnvironmentRef,
        /// The name: exact, or a wildcard over one label
        #[arg(value_parser = values::pattern)]
        hostname: HostPattern,
    },
    /// Look for the TXT record now; the hostname is the environment's own if it is there
    #[command(after_long_help = examples(&["sextant hostname verify shop/web/production shop.example.com"]))]
    Verify {
        /// Whose claim it is
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: EnvironmentRef,
        /// The name that was claimed
        #[arg(value_parser = values::pattern, add = completed(Things::Hostnames))]
        hostname: HostPattern,
    },
    /// List the hostnames of an environment
    #[command(visible_alias = "ls", after_long_help = examples(&["sextant hostname list shop/web/production"]))]
    List {
        /// Which one
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: EnvironmentRef,
    },
    /// Move a hostname to another environment, with every route that uses it; to another org the
    /// environment's names that overlap it go along
    #[command(after_long_help = examples(&[
        "sextant hostname move shop.example.com --from shop/web/staging --to shop/web/production",
    ]))]
    Move {
        /// The name
        #[arg(value_parser = values::pattern, add = completed(Things::Hostnames))]
        hostname: HostPattern,
        /// Whose it is
        #[arg(long, value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        from: EnvironmentRef,
        /// Whose it becomes; it must run every process type that the routes lead to
        #[arg(long, value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        to: EnvironmentRef,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Give a hostname back that no route uses
    #[command(visible_aliases = ["rm", "delete", "remove"], after_long_help = examples(&["sextant hostname release shop/web/production shop.example.com --yes"]))]
    Release {
        /// Whose it is
        #[arg(value_name = "ORG/APP/ENVIRONMENT|ID", add = completed(Things::Environments))]
        environment: EnvironmentRef,
        /// The name
        #[arg(value_parser = values::pattern, add = completed(Things::Hostnames))]
        hostname: HostPattern,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Does it.
pub async fn run(
    command: &HostnameCommand,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let client = connect(globals).await?;
    match command {
        HostnameCommand::Claim { environment, hostname } => {
            let id = lookup::environment_id(&client, environment).await?;
            let new = NewHostname { hostname: hostname.clone() };
            let send = async |key: &str| client.claim_hostname(id, &new, Some(key)).await;
            let claimed = lookup::create(send).await?;
            claim_made(&claimed, environment, output)?;
        }
        HostnameCommand::Verify { environment, hostname } => {
            let id = lookup::environment_id(&client, environment).await?;
            let verified = client.verify_hostname(id, hostname).await?;
            output.one(&verified, |found| described(found, environment, output))?;
        }
        HostnameCommand::List { environment } => {
            let id = lookup::environment_id(&client, environment).await?;
            output.list(&lookup::hostnames(&client, id).await?, |found| listing(found, output))?;
        }
        HostnameCommand::Move { hostname, from, to, yes } => {
            return transfer(&client, hostname, (from, to), *yes, output).await;
        }
        HostnameCommand::Release { environment, hostname, yes } => {
            return release(&client, environment, hostname, *yes, output).await;
        }
    }
    Ok(Exit::Success)
}

/// The record goes to standard output alone, so that it can be piped into a zone file.
fn claim_made(
    claimed: &EnvironmentHostname,
    environment: &EnvironmentRef,
    output: &Output,
) -> Result<(), Failure> {
    let Some(challenge) = &claimed.challenge else {
        return output.one(claimed, |found| described(found, environment, output));
    };
    let hostname = &claimed.hostname;
    output.note(&format!(
        "hostname \"{hostname}\" is claimed and not proved yet; publish this record, then run \
         `sextant hostname verify {environment} {}`:",
        quoted(hostname)
    ));
    output.one(claimed, |_| format!("{}\n", record(challenge)))
}

/// A TXT record as zone files have it (RFC 1035 section 5.1).
fn record(challenge: &HostnameChallenge) -> String {
    let HostnameChallenge { name, value } = challenge;
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{}. {CHALLENGE_TTL} IN TXT \"{value}\"", name.trim_end_matches('.'))
}

/// The name as a shell takes it.
pub fn quoted(hostname: &HostPattern) -> String {
    if hostname.is_wildcard() { format!("'{hostname}'") } else { hostname.to_string() }
}

async fn transfer(
    client: &Client,
    hostname: &HostPattern,
    (from, to): (&EnvironmentRef, &EnvironmentRef),
    yes: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let from_id = lookup::environment_id(client, from).await?;
    let to_id = lookup::environment_id(client, to).await?;
    let routes = lookup::routes(
        client,
        RouteQuery {
            environment_id: Some(from_id),
            hostname: Some(hostname.clone()),
            ..RouteQuery::default()
        },
    )
    .await?;
    let what = format!("hostname \"{hostname}\" from {from} to {to}");
    let question = format!("Move {what}, {}?", with_routes(&routes));
    if let Some(exit) = output.confirmed(yes, &question).await? {
        return Ok(exit);
    }
    let target = HostnameMove { to_environment_id: to_id };
    let send = async |key: &str| client.move_hostname(from_id, hostname, &target, Some(key)).await;
    let moved = lookup::create(send).await?;
    let gone: Vec<Route> =
        routes.into_iter().filter(|route| moved.routes.contains(&route.id)).collect();
    let said = match moved.routes.len() {
        // One that was made since is not known here.
        all if all > gone.len() => format!("with {all} routes"),
        _ => with_routes(&gone),
    };
    output.done(&format!("moved {what}, {said}{}", along(&moved.along)), &moved)?;
    Ok(Exit::Success)
}

/// What moved besides the name that was given.
fn along(names: &[HostPattern]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    if quoted.is_empty() {
        return String::new();
    }
    format!("; what overlaps it went along: {}", quoted.join(", "))
}

fn with_routes(routes: &[Route]) -> String {
    let one = |route: &Route| {
        format!(
            "port {} to {}:{}",
            route.listen_port, route.backend_process_type, route.backend_port
        )
    };
    let texts: Vec<String> = routes.iter().map(one).collect();
    match texts.as_slice() {
        [] => "which no route uses".into(),
        [one] => format!("with its route: {one}"),
        several => format!("with its {} routes: {}", several.len(), several.join(", ")),
    }
}

async fn release(
    client: &Client,
    environment: &EnvironmentRef,
    hostname: &HostPattern,
    yes: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let id = lookup::environment_id(client, environment).await?;
    let found = lookup::hostnames(client, id).await?;
    let Some(found) = found.into_iter().find(|found| found.hostname == *hostname) else {
        return Err(Failure::NotFound(format!(
            "environment \"{environment}\" has no hostname \"{hostname}\"; `sextant hostname list \
             {environment}` shows all"
        )));
    };
    let question = format!("Give back hostname \"{hostname}\" of {environment}?");
    if let Some(exit) = output.confirmed(yes, &question).await? {
        return Ok(exit);
    }
    client.release_hostname(id, hostname).await?;
    output.done(&format!("hostname \"{hostname}\" given back"), &found)?;
    Ok(Exit::Success)
}

fn listing(hostnames: &[EnvironmentHostname], output: &Output) -> String {
    let rows = hostnames.iter().map(|found| {
        let proof = found.challenge.as_ref().map_or_else(|| "-".into(), record);
        let age = output.moments.age(found.since);
        vec![found.hostname.to_string(), word(&found.state), age, proof]
    });
    let age = output.moments.title("since");
    output.table(&["hostname", "state", age, "record to publish"], rows)
}

fn described(found: &EnvironmentHostname, environment: &EnvironmentRef, output: &Output) -> String {
    let mut lines = vec![
        ("hostname", found.hostname.to_string()),
        ("environment", environment.to_string()),
        ("state", word(&found.state)),
        ("since", output.moments.full(found.since)),
    ];
    if let (HostnameState::Pending, Some(challenge)) = (found.state, &found.challenge) {
        lines.push(("record", record(challenge)));
    }
    details(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_ready_for_a_zone_file() {
        let challenge =
            |name: &str, value: &str| HostnameChallenge { name: name.into(), value: value.into() };
        let name = "_sextant-challenge.shop.example.com";
        assert_eq!(
            record(&challenge(name, "sextant-verification=ab12")),
            "_sextant-challenge.shop.example.com. 300 IN TXT \"sextant-verification=ab12\""
        );
        assert_eq!(record(&challenge("a.", "x\"\\")), "a. 300 IN TXT \"x\\\"\\\\\"");
    }

    #[test]
    fn a_move_names_what_went_along() {
        let pattern = |name: &str| HostPattern::new(name).expect(name);
        assert_eq!(along(&[]), "");
        let said = along(&[pattern("*.a.test"), pattern("b.a.test")]);
        assert_eq!(said, "; what overlaps it went along: \"*.a.test\", \"b.a.test\"");
    }

    #[test]
    fn a_wildcard_is_shown_as_a_shell_takes_it() {
        let quoted = |name: &str| quoted(&HostPattern::new(name).expect(name));
        assert_eq!(quoted("*.example.com"), "'*.example.com'");
        assert_eq!(quoted("example.com"), "example.com");
    }
}
