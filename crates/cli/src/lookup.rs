//! From names to things, whole lists from pages, and requests that may be sent twice.

mod ingress;
mod tenancy;

use sextant_api::{
    Client, ClientError, Page,
    client::PageQuery,
    page::MAX_LIMIT,
    resource::{api_token::ApiToken, enrolment::EnrolmentToken, network::Network, node::Node},
};
use sextant_model::{NetworkId, NodeId};
use uuid::Uuid;

use crate::exit::{FORBIDDEN, Failure, OUTCOME_UNKNOWN};

pub use ingress::{RouteRef, edges, hostnames, port_grants, route_id, routes};
pub use tenancy::{
    app_at, app_id, apps, environment_id, environments, org_id, orgs, releases, workloads,
};

/// Every item of a list, page by page; `fetch` gets where the page before ended.
async fn all<T>(
    fetch: impl AsyncFn(Option<String>) -> Result<Page<T>, ClientError>,
) -> Result<Vec<T>, Failure> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = fetch(after.clone()).await?;
        items.extend(page.items);
        if page.next_after.is_none() {
            return Ok(items);
        }
        if page.next_after == after {
            return Err(Failure::Refused {
                code: "list-does-not-end".into(),
                detail: "the control plane gives the same page of a list again and again; report \
                         this"
                    .into(),
            });
        }
        after = page.next_after;
    }
}

/// The query for the page after `after`.
fn page(after: Option<String>) -> PageQuery {
    PageQuery { after, limit: Some(MAX_LIMIT) }
}

/// Every network.
pub async fn networks(client: &Client) -> Result<Vec<Network>, Failure> {
    all(async |after| client.networks(&page(after)).await).await
}

/// Every node that has not been released.
pub async fn nodes(client: &Client) -> Result<Vec<Node>, Failure> {
    all(async |after| client.nodes(&page(after)).await).await
}

/// Every enrolment token.
pub async fn enrolment_tokens(client: &Client) -> Result<Vec<EnrolmentToken>, Failure> {
    all(async |after| client.enrolment_tokens(&page(after)).await).await
}

/// Every API token.
pub async fn api_tokens(client: &Client) -> Result<Vec<ApiToken>, Failure> {
    all(async |after| client.api_tokens(&page(after)).await).await
}

/// The network with this id or name.
pub async fn network_id(client: &Client, wanted: &str) -> Result<NetworkId, Failure> {
    if let Some(id) = id(wanted) {
        return Ok(NetworkId(id));
    }
    let networks = networks(client).await.map_err(|failure| by_id_only(failure, "network"))?;
    let named = networks.iter().filter(|network| network.name.as_str() == wanted);
    one("network", wanted, named.map(|network| (network.id, network.id.to_string())).collect())
}

/// The network that is meant if none is named: the only one.
pub async fn only_network_id(client: &Client) -> Result<NetworkId, Failure> {
    let networks = networks(client).await?;
    match networks.as_slice() {
        [network] => Ok(network.id),
        [] => Err(Failure::NotFound(
            "there is no network yet; make one with `sextant network create NAME`".into(),
        )),
        several => {
            let names: Vec<&str> = several.iter().map(|network| network.name.as_str()).collect();
            Err(Failure::BadInput(format!(
                "there are several networks ({}); say which with --network",
                names.join(", ")
            )))
        }
    }
}

/// The node with this id or name.
pub async fn node_id(client: &Client, wanted: &str) -> Result<NodeId, Failure> {
    if let Some(id) = id(wanted) {
        return Ok(NodeId(id));
    }
    let nodes = nodes(client).await.map_err(|failure| by_id_only(failure, "node"))?;
    node_named(&nodes, wanted)
}

/// Whoever may not list things cannot name them either.
fn by_id_only(failure: Failure, kind: &str) -> Failure {
    if !failure.is_forbidden() {
        return failure;
    }
    let detail =
        format!("this token is not for the platform, so it can name a {kind} by its id only");
    Failure::Refused { code: FORBIDDEN.into(), detail }
}

/// Names are unique within a network only.
fn node_named(nodes: &[Node], wanted: &str) -> Result<NodeId, Failure> {
    let named = nodes.iter().filter(|node| node.name.as_str() == wanted);
    let described = |node: &Node| (node.id, format!("{} in network {}", node.id, node.network_id));
    one("node", wanted, named.map(described).collect())
}

/// The only candidate, or an error that lists them.
fn one<T>(kind: &str, wanted: &str, candidates: Vec<(T, String)>) -> Result<T, Failure> {
    let texts: Vec<String> = candidates.iter().map(|(_, text)| text.clone()).collect();
    let mut candidates = candidates.into_iter();
    match (candidates.next(), candidates.next()) {
        (Some((only, _)), None) => Ok(only),
        (None, _) => Err(Failure::NotFound(format!(
            "there is no {kind} \"{wanted}\"; `sextant {kind} list` shows all"
        ))),
        (Some(_), Some(_)) => Err(Failure::BadInput(format!(
            "several {kind}s are named \"{wanted}\"; give the id of one: {}",
            texts.join(", ")
        ))),
    }
}

/// `text` as an id, if it is written as one. A name of 32 hex digits stays a name.
pub fn id(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| text.parse().ok()).flatten()
}

/// Sends a request that makes something, and once more if it may have been done without an answer:
/// the connection failed, or the server does not know. The key lets the server see that it is the
/// same request.
pub async fn create<T>(
    send: impl AsyncFn(&str) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let key = Uuid::new_v4().to_string();
    match send(&key).await {
        Err(ClientError::Unreachable { .. }) => send(&key).await,
        Err(unknown) if unknown.code() == OUTCOME_UNKNOWN => match send(&key).await {
            // That the second one did nothing says nothing about the first.
            Err(ClientError::Unreachable { .. }) => Err(unknown),
            Err(error) if error.problem().is_some_and(|problem| problem.status == 503) => {
                Err(unknown)
            }
            answer => answer,
        },
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use sextant_api::Problem;

    use super::*;
    use crate::health::tests::node;

    #[test]
    fn an_id_is_only_what_is_written_like_one() {
        assert!(id("0198f7a2-4c1e-7c55-8a5d-0d3f6c1b2a9e").is_some());
        assert!(id("0198f7a24c1e7c558a5d0d3f6c1b2a9e").is_none());
        assert!(id("worker-1").is_none());
    }

    #[test]
    fn a_name_finds_its_node_and_an_ambiguous_one_lists_the_candidates() {
        let (a, mut elsewhere) = (node(1, "a"), node(3, "a"));
        elsewhere.network_id = NetworkId(Uuid::from_u128(9));
        assert_eq!(node_named(std::slice::from_ref(&a), "a").expect("a"), a.id);
        let error = node_named(&[a.clone(), elsewhere.clone()], "a").expect_err("two");
        for candidate in [a.id, elsewhere.id] {
            assert!(error.to_string().contains(&candidate.to_string()), "{error}");
        }
        assert_eq!(error.exit().code(), 2);
        assert_eq!(node_named(&[a], "b").expect_err("none").exit().code(), 5);
    }

    #[tokio::test]
    async fn pages_are_followed_to_the_end_and_a_list_without_end_is_an_error() {
        let pages = async |after: Option<String>| {
            let from: u32 = after.map_or(0, |after| after.parse().expect("number"));
            let next_after = (from < 4).then(|| (from + 2).to_string());
            Ok(Page { items: vec![from, from + 1], next_after })
        };
        assert_eq!(all(pages).await.expect("list"), [0, 1, 2, 3, 4, 5]);
        let endless = async |_| Ok(Page { items: vec![0], next_after: Some("x".into()) });
        assert!(all(endless).await.is_err());
    }

    #[tokio::test]
    async fn an_unknown_outcome_is_asked_for_again_and_stays_unknown_without_an_answer() {
        let problem = |code| Err(ClientError::Problem(Box::new(Problem::new(503, code, ""))));
        let keys = RefCell::new(Vec::new());
        let answers = async |key: &str, second: Result<u8, ClientError>| {
            keys.borrow_mut().push(key.to_owned());
            if keys.borrow().len() == 1 { problem(OUTCOME_UNKNOWN) } else { second }
        };
        assert_eq!(create(async |key: &str| answers(key, Ok(7)).await).await.expect("made"), 7);
        assert_eq!(keys.borrow().len(), 2);
        assert_eq!(keys.borrow()[0], keys.borrow()[1]);
        keys.borrow_mut().clear();
        let away = async |key: &str| answers(key, problem("database-unavailable")).await;
        assert_eq!(create(away).await.expect_err("away").code(), OUTCOME_UNKNOWN);
        assert_eq!(keys.borrow().len(), 2);
    }

    #[tokio::test]
    async fn only_a_failed_connection_is_tried_again_and_with_the_same_key() {
        let keys = RefCell::new(Vec::new());
        let unreachable = async |key: &str| {
            keys.borrow_mut().push(key.to_owned());
            Err::<(), _>(ClientError::Unreachable { urls: String::new(), reason: String::new() })
        };
        assert!(create(unreachable).await.is_err());
        assert_eq!(keys.borrow().len(), 2);
        assert_eq!(keys.borrow()[0], keys.borrow()[1]);
        keys.borrow_mut().clear();
        let refused = async |key: &str| {
            keys.borrow_mut().push(key.to_owned());
            Err::<(), _>(ClientError::NoUrl)
        };
        assert!(create(refused).await.is_err());
        assert_eq!(keys.borrow().len(), 1);
    }
}
