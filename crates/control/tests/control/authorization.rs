//! Every operation of the description is tried by those who may not use it.

use sextant_api::{
    Auth,
    client::PageQuery,
    resource::{api_token::NewApiToken, release::NewRelease},
};
use sextant_model::event::ProcessSpec;

use crate::{Platform, enrol, label, network, tenancy::tenant};

/// Open to everybody: signs of life, the description, and enrolment, where the token decides.
const OPEN: [(&str, &str); 3] =
    [("get", "/v1/health"), ("get", "/v1/ready"), ("post", "/v1/enrol")];

fn operations() -> Vec<(String, String)> {
    let document = serde_json::to_value(sextant_control::http::openapi()).expect("json");
    let paths = document["paths"].as_object().expect("paths").clone();
    let mut operations = Vec::new();
    for (path, methods) in paths {
        for method in methods.as_object().expect("methods").keys() {
            let open = OPEN.contains(&(method.as_str(), path.as_str()));
            if !open && ["get", "post", "patch", "put", "delete"].contains(&method.as_str()) {
                operations.push((method.clone(), path.clone()));
            }
        }
    }
    assert!(operations.len() > 15, "the description has lost its operations");
    operations
}

fn concrete(path: &str) -> String {
    path.split('/')
        .map(
            |part| {
                if part.starts_with('{') { "01a1f868-55a1-73be-bef8-2503570dfd53" } else { part }
            },
        )
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn nothing_is_done_for_strangers() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    for (method, path) in operations() {
        let url = replica.url.join(&concrete(&path)).expect("path");
        let method = method.to_uppercase().parse().expect("method");
        let response = platform.raw().request(method, url).send().await.expect("answered");
        assert_eq!(response.status(), 401, "{path}");
    }
}

#[tokio::test]
async fn a_viewer_changes_nothing_and_a_node_reads_nothing_of_the_operators() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let mesh = network(&admin).await;
    let (_, node) = enrol(&platform, &replica, mesh.id, 1).await;
    let new = NewApiToken {
        name: label("viewer"),
        role: sextant_model::OperatorRole::Viewer,
        org_id: None,
        expires_in: Some(3600),
    };
    let viewer = admin.create_api_token(&new, None).await.expect("token").token.expect("shown");
    for (method, path) in operations() {
        if method == "get" {
            continue;
        }
        let url = replica.url.join(&concrete(&path)).expect("path");
        let method = method.to_uppercase().parse().expect("method");
        let request = platform.raw().request(method, url).bearer_auth(&viewer);
        let response = request.send().await.expect("answered");
        assert_eq!(response.status(), 403, "{path}");
    }
    for answer in [
        node.status().await.map(drop),
        node.nodes(&PageQuery::default()).await.map(drop),
        node.api_tokens(&PageQuery::default()).await.map(drop),
        node.enrolment_tokens(&PageQuery::default()).await.map(drop),
        node.remove_node(sextant_model::NodeId(uuid::Uuid::nil()), None).await.map(drop),
    ] {
        assert_eq!(answer.expect_err("refused").code(), "forbidden");
    }
    node.snapshot().await.expect("its own snapshot");
}

/// What an operation takes, where it must be well-formed to be refused for whose it is.
fn body(path: &str, foreign: &Foreign) -> serde_json::Value {
    use serde_json::json;
    match path {
        "/v1/orgs" | "/v1/networks" | "/v1/networks/{network_id}" => json!({ "name": "mine" }),
        "/v1/apps" => json!({ "name": "mine", "org_id": foreign.environment.org_id }),
        "/v1/environments" => json!({ "name": "mine", "app_id": foreign.environment.app_id }),
        "/v1/environments/{environment_id}/releases" => {
            json!({ "processes": [{ "process_type": "web", "instances": 1 }] })
        }
        "/v1/environments/{environment_id}/workloads" => json!({ "process_type": "web" }),
        "/v1/workloads/{workload_id}/health" => json!({ "health": "unhealthy" }),
        "/v1/api-tokens" => {
            json!({ "name": "mine", "role": "admin", "org_id": foreign.environment.org_id })
        }
        "/v1/enrolment-tokens" => json!({ "network_id": foreign.network, "node_name": "mine" }),
        "/v1/nodes/{node_id}" => json!({ "endpoint": "[2001:db8::9]:51820" }),
        "/v1/environments/{environment_id}/hostnames" => json!({ "hostname": "a.example.com" }),
        "/v1/environments/{environment_id}/hostnames/{hostname}/move" => {
            json!({ "to_environment_id": foreign.environment.id })
        }
        "/v1/environments/{environment_id}/port-grants" => json!({ "port": 9000, "reason": "x" }),
        "/v1/port-policy" => json!({ "allow": [], "deny": ["25"] }),
        "/v1/environments/{environment_id}/routes" => json!({
            "hostname": "a.example.com", "listen_port": 443, "protocol_hint": "tls_passthrough",
            "backend_process_type": "web", "backend_port": 443,
        }),
        "/v1/routes/{route_id}" => json!({ "backend_port": 444 }),
        _ => json!({}),
    }
}

/// What belongs to another org, and to the platform.
struct Foreign {
    network: sextant_model::NetworkId,
    node: sextant_model::NodeId,
    environment: sextant_api::resource::environment::Environment,
    release: sextant_api::resource::release::Release,
    token: sextant_model::ApiTokenId,
}

impl Foreign {
    fn path(&self, path: &str) -> String {
        let replaced = [
            ("{org_id}", self.environment.org_id.0),
            ("{app_id}", self.environment.app_id.0),
            ("{environment_id}", self.environment.id.0),
            ("{release_id}", self.release.id.0),
            ("{workload_id}", self.release.workloads[0].id.0),
            ("{network_id}", self.network.0),
            ("{node_id}", self.node.0),
            ("{token_id}", self.token.0),
        ];
        let path = replaced
            .iter()
            .fold(path.to_owned(), |path, (name, id)| path.replace(name, &id.to_string()));
        concrete(&path.replace("{hostname}", "a.example.com").replace("{port}", "9000"))
    }

    /// Whether a text betrays that these things exist.
    fn is_in(&self, text: &str) -> bool {
        let workload = &self.release.workloads[0];
        let environment = &self.environment;
        [environment.org_id.0, environment.app_id.0, environment.id.0, self.release.id.0]
            .into_iter()
            .chain([workload.id.0, self.token.0])
            .map(|id| id.to_string())
            .chain(["bank".into(), workload.address.to_string()])
            .any(|secret| text.contains(&secret))
    }
}

/// Answers that hold nothing but what the token's own org owns, or what everybody may know.
const FOR_EVERY_ORG: [(&str, &str); 10] = [
    ("get", "/v1/orgs"),
    ("get", "/v1/apps"),
    ("get", "/v1/environments"),
    ("get", "/v1/workloads"),
    ("get", "/v1/routes"),
    ("get", "/v1/routes/explain"),
    ("get", "/v1/api-tokens"),
    ("get", "/v1/port-policy"),
    ("get", "/v1/events"),
    ("get", "/v1/snapshot"),
];

#[tokio::test]
async fn a_token_of_another_org_gets_nothing_out_of_any_operation() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    let network = network(&admin).await.id;
    let (enrolment, _) = enrol(&platform, &replica, network, 1).await;
    let environment = tenant(&admin, "bank").await;
    let new =
        NewRelease { processes: vec![ProcessSpec { process_type: label("web"), instances: 1 }] };
    let release = admin.deploy(environment.id, &new, None).await.expect("deployed");
    let org_token = async |org, name| {
        let (role, org_id) = (sextant_model::OperatorRole::Admin, Some(org));
        let new = NewApiToken { name: label(name), role, org_id, expires_in: None };
        admin.create_api_token(&new, None).await.expect("token")
    };
    let token = org_token(environment.org_id, "theirs").await.id;
    let foreign = Foreign { network, node: enrolment.node.id, environment, release, token };
    let own = tenant(&admin, "shop").await;
    let token = org_token(own.org_id, "ours").await.token.expect("shown");
    let before = admin.events(None, Some(1000)).await.expect("events").frames.len();
    for (method, path) in operations() {
        let url = replica.url.join(&foreign.path(&path)).expect("path");
        let verb = method.to_uppercase().parse().expect("method");
        let mut request = platform.raw().request(verb, url).bearer_auth(&token);
        if method != "get" {
            request = request.json(&body(&path, &foreign)).header("if-match", "*");
        }
        let response = request.send().await.expect("answered");
        let status = response.status().as_u16();
        let text = response.text().await.expect("text");
        if FOR_EVERY_ORG.contains(&(method.as_str(), path.as_str())) {
            assert!(!foreign.is_in(&text), "{method} {path}: {text}");
        } else {
            assert!(
                [403, 404].contains(&status) || path == "/v1/stream",
                "{method} {path}: {text}"
            );
            assert!(!text.contains("bank"), "{method} {path}: {text}");
        }
    }
    let after = admin.events(None, Some(1000)).await.expect("events").frames.len();
    assert_eq!(after, before, "nothing was changed");
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_no_identity() {
    let platform = Platform::new().await;
    let elsewhere = Platform::new().await;
    let (replica, other) = (platform.replica().await, elsewhere.replica().await);
    let foreign_mesh = network(&elsewhere.admin(&[&other])).await;
    let admin = elsewhere.admin(&[&other]);
    let machine = crate::Machine::new(1, crate::token_for(&admin, foreign_mesh.id, "n1").await);
    let nobody = elsewhere.client(&[&other], Auth::Nobody);
    let enrolment = nobody.enrol(&machine.request).await.expect("enrolled there");
    let stranger = platform.client(&[&replica], machine.auth(&enrolment));
    assert!(stranger.snapshot().await.is_err());
}
