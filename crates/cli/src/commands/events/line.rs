//! One event as one line.

use std::collections::BTreeMap;

use sextant_api::{Client, client::RouteQuery};
use sextant_model::{
    ActorId, AggregateKind, EnvironmentId, Event, EventBody, NodeId, ReleaseId,
    event::ReleaseCreated, port::PortRange,
};
use uuid::Uuid;

use crate::{
    exit::Failure,
    lookup,
    moment::exact,
    named::Named,
    output::{listed, or_dash, printable},
};

/// What the ids in events are called. An id without a name is shown as it is.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<Uuid, String>);

impl Names {
    /// The names of all that exists now and that the caller may see.
    pub async fn load(client: &Client) -> Result<Self, Failure> {
        let mut names = BTreeMap::new();
        for network in seen(lookup::networks(client).await)? {
            names.insert(network.id.0, network.name.to_string());
        }
        for node in seen(lookup::nodes(client).await)? {
            names.insert(node.id.0, node.name.to_string());
        }
        for token in seen(lookup::enrolment_tokens(client).await)? {
            names.insert(token.id.0, token.node_name.to_string());
        }
        for token in seen(lookup::api_tokens(client).await)? {
            names.insert(token.id.0, token.name.to_string());
        }
        for org in seen(lookup::orgs(client).await)? {
            names.insert(org.id.0, org.name.to_string());
        }
        for app in seen(lookup::apps(client, None).await)? {
            names.insert(app.id.0, Named::name(&app));
        }
        for environment in seen(lookup::environments(client, None, None).await)? {
            names.insert(environment.id.0, environment.path());
        }
        for route in seen(lookup::routes(client, RouteQuery::default()).await)? {
            names.insert(route.id.0, Named::name(&route));
        }
        Ok(Self(names))
    }

    /// Asks for the name of a node that is gone, or of a release: no list has them. An answer that
    /// does not come costs the name, not the line.
    pub async fn look_up(&mut self, event: &Event, client: &Client) {
        if event.aggregate_type == AggregateKind::Release {
            let id = event.aggregate_id;
            if !self.0.contains_key(&id)
                && let Ok(release) = client.release(ReleaseId(id)).await
            {
                self.0.insert(id, format!("{}/{}", release.environment, release.number));
            }
            return;
        }
        let id = match &event.body {
            EventBody::EnrolmentTokenUsed(body) => body.node_id,
            _ if event.aggregate_type == AggregateKind::Node => NodeId(event.aggregate_id),
            _ => return,
        };
        if !self.0.contains_key(&id.0)
            && let Ok(node) = client.node(id).await
        {
            self.0.insert(id.0, node.value.name.to_string());
        }
    }

    /// Takes the names out of an event. Of apps and environments that are gone no list tells the
    /// path, so it is put together from those above them.
    pub fn learn(&mut self, event: &Event) {
        let name = match &event.body {
            EventBody::NetworkCreated(body) => body.name.to_string(),
            EventBody::NetworkRenamed(body) => body.name.to_string(),
            EventBody::NodeEnrolled(body) => body.name.to_string(),
            EventBody::ApiTokenCreated(body) => body.name.to_string(),
            EventBody::EnrolmentTokenCreated(body) => body.node_name.to_string(),
            EventBody::OrgCreated(body) => body.name.to_string(),
            EventBody::AppCreated(body) => format!("{}/{}", self.of(body.org_id.0), body.name),
            EventBody::EnvironmentCreated(body) => {
                format!("{}/{}", self.of(body.app_id.0), body.name)
            }
            EventBody::ReleaseCreated(body) => {
                format!("{}/{}", self.of(body.environment_id.0), body.number)
            }
            EventBody::RouteCreated(body) => {
                let host = body.hostname.as_ref().map_or_else(String::new, ToString::to_string);
                format!("{host}:{}", body.listen_port)
            }
            _ => return,
        };
        self.0.insert(event.aggregate_id, name);
    }

    /// What it is called, or its id.
    pub fn of(&self, id: Uuid) -> String {
        self.0.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

/// What a role may not list is shown by its id.
fn seen<T>(found: Result<Vec<T>, Failure>) -> Result<Vec<T>, Failure> {
    match found {
        Err(failure) if failure.is_forbidden() => Ok(Vec::new()),
        found => found,
    }
}

/// The word in the event's `event_type`.
pub fn event_type(event: &Event) -> String {
    match &event.body {
        EventBody::Unknown(unknown) => unknown.event_type.clone(),
        known => known.to_columns().map_or_else(|_| "?".into(), |(event_type, _)| event_type),
    }
}

/// Time, id, type, subject, actor, detail.
pub fn of(event: &Event, names: &Names) -> String {
    let subject = format!("{}/{}", kind(event.aggregate_type), names.of(event.aggregate_id));
    let line = format!(
        "{}  {:>6}  {:<23}  {subject:<28}  by {:<12}  {}",
        exact(event.occurred_at.0),
        event.event_id,
        event_type(event),
        actor(event.actor_id, names),
        detail(&event.body, names),
    );
    printable(line.trim_end())
}

/// The kind of a subject, as commands call it.
pub fn kind(kind: AggregateKind) -> &'static str {
    match kind {
        AggregateKind::EnrolmentToken => "token",
        kind => kind.as_str(),
    }
}

/// Who did it.
pub fn actor(actor: ActorId, names: &Names) -> String {
    if actor == ActorId::SYSTEM { "system".into() } else { names.of(actor.0) }
}

fn detail(body: &EventBody, names: &Names) -> String {
    match body {
        EventBody::NetworkCreated(body) => or_dash(body.ipv6_prefix.or(body.ipv4_prefix)),
        EventBody::NetworkRenamed(body) => format!("now {}", body.name),
        EventBody::EnrolmentTokenCreated(body) => {
            let network = names.of(body.network_id.0);
            format!("{} in {network} until {}", listed(&body.roles), exact(body.expires_at.0))
        }
        EventBody::EnrolmentTokenUsed(body) => format!("node {}", names.of(body.node_id.0)),
        EventBody::NodeEnrolled(body) => {
            let addresses: Vec<String> =
                body.addresses.iter().map(|address| address.to_string()).collect();
            format!("{} at {}", addresses.join(","), body.endpoint)
        }
        EventBody::NodeEndpointChanged(body) => format!("now at {}", body.endpoint),
        EventBody::NodeCertificateIssued(body) => format!("until {}", exact(body.not_after.0)),
        EventBody::NodeCertificatesRevoked(_) => "they are refused from now on".into(),
        EventBody::NodeReadmitted(_) => "its certificates are good again".into(),
        EventBody::NodeWithdrawn(body) => format!("from {}", names.of(body.network_id.0)),
        EventBody::NodeReleased(body) => format!("from {}", names.of(body.network_id.0)),
        EventBody::ApiTokenCreated(body) => {
            let until = body
                .expires_at
                .map_or_else(|| "for ever".into(), |at| format!("until {}", exact(at.0)));
            format!("{} {until}", body.role.as_str())
        }
        EventBody::AppCreated(body) => format!("of {}", names.of(body.org_id.0)),
        EventBody::EnvironmentCreated(body) => {
            format!("of {} in {}", names.of(body.app_id.0), names.of(body.network_id.0))
        }
        EventBody::HostnameClaimed(body) if body.challenge.is_some() => {
            format!("{} until proved", body.hostname)
        }
        EventBody::HostnameClaimed(body) => body.hostname.to_string(),
        EventBody::HostnameVerified(body) => body.hostname.to_string(),
        EventBody::HostnameAcquired(body) => {
            format!(
                "{} from {}",
                body.hostname,
                other_side(body.from.map(|from| from.environment_id), names)
            )
        }
        EventBody::HostnameSurrendered(body) => {
            format!(
                "{} to {}",
                body.hostname,
                other_side(body.to.map(|to| to.environment_id), names)
            )
        }
        EventBody::HostnameReleased(body) => body.hostname.to_string(),
        EventBody::PortGranted(body) => format!("{}: {}", body.port, body.reason),
        EventBody::PortGrantRevoked(body) => body.port.to_string(),
        EventBody::PortPolicySet(body) => {
            format!("allow {} deny {}", ranges(&body.allow), ranges(&body.deny))
        }
        EventBody::ReleaseCreated(body) => released(body, names),
        EventBody::ReleaseActivated(body) => format!("in {}", names.of(body.environment_id.0)),
        EventBody::ReleaseSuperseded(body) => format!("by {}", names.of(body.by.0)),
        EventBody::WorkloadPlaced(body) => {
            format!("{} on {} at {}", body.process_type, names.of(body.node_id.0), body.address)
        }
        EventBody::WorkloadHealthChanged(body) => body.health.as_str().into(),
        EventBody::WorkloadWithdrawn(body) => format!("from {}", names.of(body.node_id.0)),
        EventBody::WorkloadReleased(body) => format!("from {}", names.of(body.node_id.0)),
        EventBody::RouteCreated(body) => format!(
            "{} port {} to {} of {}",
            or_dash(body.hostname.as_ref()),
            body.listen_port,
            body.backend_process_type,
            names.of(body.environment_id.0)
        ),
        EventBody::RouteChanged(body) => {
            format!("now to {} port {}", body.backend_process_type, body.backend_port)
        }
        EventBody::RouteMoved(body) => {
            let to = body.to.as_ref().map(|to| to.environment_id);
            format!("now to {}", other_side(to, names))
        }
        EventBody::Unknown(_) => "not known to this version".into(),
        EventBody::OrgQuotasSet(body) => {
            let limits = body.limits.iter().map(|(quota, limit)| format!("{quota} {limit}"));
            limits.collect::<Vec<_>>().join(", ")
        }
        EventBody::NetworkDeleted(_)
        | EventBody::EnrolmentTokenRevoked(_)
        | EventBody::ApiTokenRevoked(_)
        | EventBody::OrgCreated(_)
        | EventBody::OrgDeleted(_)
        | EventBody::AppDeleted(_)
        | EventBody::EnvironmentDeleted(_)
        | EventBody::RouteDeleted(_) => String::new(),
    }
}

/// An org is not told of another one.
fn other_side(environment: Option<EnvironmentId>, names: &Names) -> String {
    environment.map_or_else(|| "another org".into(), |environment| names.of(environment.0))
}

fn ranges(ranges: &[PortRange]) -> String {
    let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "-".into() } else { texts.join(",") }
}

fn released(release: &ReleaseCreated, names: &Names) -> String {
    let processes = release.processes.iter();
    let processes: Vec<String> =
        processes.map(|spec| format!("{}={}", spec.process_type, spec.instances)).collect();
    let environment = names.of(release.environment_id.0);
    format!("number {} of {environment}: {}", release.number, processes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sextant_model::{
        DnsLabel, NetworkId, Timestamp,
        event::{NetworkRenamed, NodeWithdrawn},
    };

    fn event(kind: AggregateKind, id: u128, body: EventBody) -> Event {
        Event {
            event_id: 42,
            occurred_at: Timestamp::from_unix_seconds(1_700_000_000).expect("moment"),
            aggregate_type: kind,
            aggregate_id: Uuid::from_u128(id),
            aggregate_seq: 1,
            actor_id: ActorId::SYSTEM,
            body,
        }
    }

    #[test]
    fn a_line_names_what_it_can_and_learns_names_on_the_way() {
        let mut names = Names::default();
        let name = DnsLabel::new("mesh").expect("label");
        let renamed = EventBody::NetworkRenamed(NetworkRenamed { name });
        names.learn(&event(AggregateKind::Network, 1, renamed));
        let network_id = NetworkId(Uuid::from_u128(1));
        let withdrawn = EventBody::NodeWithdrawn(NodeWithdrawn { network_id });
        let line = of(&event(AggregateKind::Node, 5, withdrawn), &names);
        let squeezed = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let id = Uuid::from_u128(5);
        assert_eq!(
            squeezed,
            format!("2023-11-14T22:13:20Z 42 node-withdrawn node/{id} by system from mesh")
        );
    }
}
