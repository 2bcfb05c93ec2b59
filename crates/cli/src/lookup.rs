//! From names to things, whole lists from pages, and requests that may be sent twice.

mod ingress;
mod tenancy;

use sextant_api::{
    Client, ClientError, Page,
    client::PageQuery,
    page::MAX_LIMIT,
    resource::{
        api_token::ApiToken,
        enrolment::{EnrolmentToken, EnrolmentTokenPhase},
        network::Network,
        node::{Node, NodePhase},
    },
};
use sextant_model::{NetworkId, NodeId};
use uuid::Uuid;

use crate::{
    exit::{FORBIDDEN, Failure, OUTCOME_UNKNOWN},
    output::word,
};

pub use ingress::{RouteRef, edges, hostnames, port_grants, route_id, routes};
pub use tenancy::{
    app_at, app_id, apps, environment_id, environments, org_id, orgs, releases, workload_id,
    workloads,
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

/// The network with this name or id.
pub async fn network_id(client: &Client, wanted: &str) -> Result<NetworkId, Failure> {
    if let Some(id) = id(wanted) {
        return Ok(NetworkId(id));
    }
    let networks = networks(client).await.map_err(|failure| by_id_only(failure, "network"))?;
    let candidates = networks.iter().map(|network| {
        Candidate::new(network.id, network.id.0, network.name.as_str() == wanted, &network.name)
    });
    find(NETWORK, wanted, candidates)
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

/// The node with this name or id.
pub async fn node_id(client: &Client, wanted: &str) -> Result<NodeId, Failure> {
    if let Some(id) = id(wanted) {
        return Ok(NodeId(id));
    }
    let nodes = nodes(client).await.map_err(|failure| by_id_only(failure, "node"))?;
    node_named(&nodes, wanted)
}

/// The enrolment token with this id, or for the node with this name: the one that can still be used,
/// if there are several.
pub async fn enrolment_token(client: &Client, wanted: &str) -> Result<EnrolmentToken, Failure> {
    let tokens = enrolment_tokens(client).await?;
    let named = |token: &&EnrolmentToken| token.node_name.as_str() == wanted;
    let is_open = |token: &&EnrolmentToken| token.phase == EnrolmentTokenPhase::Open;
    let some_open = tokens.iter().filter(named).any(|token| is_open(&token));
    let newest = tokens.iter().filter(named).map(|token| token.created_at).max();
    let candidates = tokens.iter().map(|token| {
        // Of those that cannot be used any more the last one says best what became of the node.
        let counts = if some_open { is_open(&token) } else { Some(token.created_at) == newest };
        let shown = format!("{} for {}", word(&token.phase), token.node_name);
        Candidate::new(token.clone(), token.id.0, named(&token) && counts, shown)
    });
    find(ENROLMENT_TOKEN, wanted, candidates)
}

/// The API token with this id or name: the one that is valid, if there are several.
pub async fn api_token(client: &Client, wanted: &str) -> Result<ApiToken, Failure> {
    let tokens = api_tokens(client).await?;
    let named = |token: &&ApiToken| token.name.as_str() == wanted;
    let some_valid = tokens.iter().filter(named).any(|token| !token.revoked);
    let candidates = tokens.iter().map(|token| {
        let is_named = named(&token) && !(some_valid && token.revoked);
        Candidate::new(token.clone(), token.id.0, is_named, &token.name)
    });
    find(API_TOKEN, wanted, candidates)
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
    // A node that is leaving has given its name back: another may have it by now.
    let has_name = |node: &&Node| node.name.as_str() == wanted;
    let is_active = |node: &&Node| node.phase == NodePhase::Active;
    let is_known_active = nodes.iter().filter(has_name).any(|node| is_active(&node));
    let candidates = nodes.iter().map(|node| {
        let shown = format!("{} in network {}", node.name, node.network_id);
        let named = has_name(&node) && (is_active(&node) || !is_known_active);
        Candidate::new(node.id, node.id.0, named, shown)
    });
    find(NODE, wanted, candidates)
}

/// What a kind of thing is called, how it is given, and the command that lists it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    noun: &'static str,
    given: &'static str,
    list: &'static str,
}

const NETWORK: Kind =
    Kind { noun: "network", given: "its name or id", list: "sextant network list" };
const NODE: Kind = Kind { noun: "node", given: "its name or id", list: "sextant node list" };
/// Releases; the list is that of an environment.
pub const RELEASE: Kind = Kind {
    noun: "release",
    given: "its id, or ORG/APP/ENVIRONMENT and its number",
    list: "sextant release list ORG/APP/ENVIRONMENT -o wide",
};
const ENROLMENT_TOKEN: Kind = Kind {
    noun: "enrolment token",
    given: "its id or the name of its node",
    list: "sextant token list --all -o wide",
};
const API_TOKEN: Kind =
    Kind { noun: "API token", given: "its name or id", list: "sextant api-token list --all" };

/// One of the things a word may mean.
#[derive(Clone, Debug)]
pub struct Candidate<T> {
    value: T,
    id: Uuid,
    is_named: bool,
    shown: String,
}

impl<T> Candidate<T> {
    /// `is_named`: whether the word is its name; `shown`: what tells it from others.
    pub fn new(value: T, id: Uuid, is_named: bool, shown: impl ToString) -> Self {
        Self { value, id, is_named, shown: shown.to_string() }
    }
}

/// The one thing that is named `wanted`, or else whose id begins so.
pub fn find<T>(
    kind: Kind,
    wanted: &str,
    candidates: impl IntoIterator<Item = Candidate<T>>,
) -> Result<T, Failure> {
    let Kind { noun, given, list } = kind;
    let (named, others): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.is_named);
    let (mut meant, how) = if named.is_empty() {
        let begins = |candidate: &Candidate<T>| {
            id_beginning(wanted).is_some_and(|start| candidate.id.to_string().starts_with(&start))
        };
        (others.into_iter().filter(begins).collect(), "have ids that begin with")
    } else {
        (named, "are named")
    };
    match meant.len() {
        0 => Err(Failure::NotFound(format!(
            "there is no {noun} \"{wanted}\"; give {given}, `{list}` shows all"
        ))),
        1 => Ok(meant.remove(0).value),
        _ => {
            let shown = |one: &Candidate<T>| format!("{} ({})", one.id, one.shown);
            let shown: Vec<String> = meant.iter().map(shown).collect();
            Err(Failure::BadInput(format!(
                "several {noun}s {how} \"{wanted}\"; give the id of one: {}",
                shown.join(", ")
            )))
        }
    }
}

/// Shortest beginning of an id that is taken for one.
const SHORTEST_BEGINNING: usize = 4;

/// `text` as the beginning of an id, if it may be one.
pub fn id_beginning(text: &str) -> Option<String> {
    let is_part = text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let fits = (SHORTEST_BEGINNING..=36).contains(&text.len());
    (is_part && fits).then(|| text.to_ascii_lowercase())
}

/// Each id as far as it takes to tell it from the others: at least the first two groups, which are
/// the moment it was made.
pub fn short_ids(ids: &[Uuid]) -> Vec<String> {
    const MOMENT: usize = 13;
    let texts: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    let mut sorted: Vec<&str> = texts.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let shared = sorted.windows(2).map(|pair| common(pair[0], pair[1])).max().unwrap_or(0);
    let length = (shared + 1).clamp(MOMENT, 36);
    texts.iter().map(|text| text[..length].to_owned()).collect()
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

    #[test]
    fn the_beginning_of_an_id_is_enough_if_it_is_that_of_one_thing() {
        let ids = ["01a212ab-0000-7000-8000-000000000001", "01a212ab-0000-7000-8000-000000000002"]
            .map(|text| text.parse::<Uuid>().expect("id"));
        let wanted = |text: &str| {
            let candidates = ids.iter().enumerate();
            // The second one is called as the first one's id begins.
            let candidates = candidates.map(|(at, id)| {
                Candidate::new(at, *id, at == 1 && text == "01a2", format!("n{at}"))
            });
            find(NODE, text, candidates)
        };
        assert_eq!(wanted("01a212ab-0000-7000-8000-000000000001").expect("whole"), 0);
        assert_eq!(wanted("01A212AB-0000-7000-8000-000000000002").expect("in capitals"), 1);
        assert_eq!(wanted("01a2").expect("a name comes first"), 1);
        let several = wanted("01a212ab").expect_err("two").to_string();
        assert!(several.contains("(n0)") && several.contains("(n1)"), "{several}");
        for none in ["01a", "01a3", "worker", ""] {
            assert_eq!(wanted(none).expect_err(none).exit().code(), 5);
        }
        assert_eq!(short_ids(&ids), ids.map(|id| id.to_string()));
        assert_eq!(short_ids(&ids[..1]), ["01a212ab-0000"]);
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
