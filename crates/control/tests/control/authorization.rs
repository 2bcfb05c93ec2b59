//! Every operation of the description is tried by those who may not use it.

use sextant_api::{Auth, client::PageQuery, resource::api_token::NewApiToken};

use crate::{Platform, enrol, label, network};

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
