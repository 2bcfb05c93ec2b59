use sextant_api::Problem;

use crate::{Platform, Running, network};

async fn post(platform: &Platform, replica: &Running, path: &str, body: &str) -> Problem {
    let response = platform
        .raw()
        .post(replica.url.join(path).expect("path"))
        .bearer_auth(&platform.token)
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .await
        .expect("answered");
    problem(response).await
}

async fn problem(response: reqwest::Response) -> Problem {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Problem = response.json().await.expect("a problem");
    assert_eq!(problem.status, status);
    assert!(problem.request_id.is_some(), "a report must be findable in the log");
    problem
}

#[tokio::test]
async fn what_is_wrong_with_a_network_is_said_precisely() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    network(&platform.admin(&[&replica])).await;
    for (body, status, code, says) in [
        (r#"{"name":"a","colour":1}"#, 422, "body-invalid", "colour"),
        (r#"{"name":1}"#, 422, "body-invalid", "name"),
        ("{}", 422, "body-invalid", "name"),
        (r#"{"name":"A.b"}"#, 422, "body-invalid", "'A'"),
        (r#"{"name":"a","ipv6_prefix":"fd00::1/48"}"#, 422, "body-invalid", "did you mean"),
        (r#"{"name":"a","ipv6_prefix":"fe80::/10"}"#, 422, "prefix-unusable", "fe80::/10"),
        (r#"{"name":"a","ip_stack_mode":"dual"}"#, 422, "ip-stack-mode-unsupported", "ipv6"),
        (r#"{"name":"a","ip_stack_mode":"ipx"}"#, 422, "body-invalid", "ipx"),
        (r#"{"name":"a","topology":"hub"}"#, 422, "topology-unsupported", "full-mesh"),
        (r#"{"name":"mesh"}"#, 409, "name-taken", "mesh"),
        ("{", 400, "body-malformed", "EOF"),
        ("\u{0}", 400, "body-malformed", ""),
    ] {
        let problem = post(&platform, &replica, "/v1/networks", body).await;
        assert_eq!((problem.status, problem.code.as_str()), (status, code), "{body}");
        assert!(problem.detail.contains(says), "{body}: {}", problem.detail);
    }
}

#[tokio::test]
async fn requests_that_are_no_requests_of_this_api_are_problems_too() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(70_000));
    let problem_of_large = post(&platform, &replica, "/v1/networks", &large).await;
    assert_eq!(problem_of_large.code, "body-too-large");
    let raw = platform.raw();
    let at = |path: &str| replica.url.join(path).expect("path");
    let get = |path: &str| raw.get(at(path)).bearer_auth(&platform.token);
    for (request, status, code) in [
        (get("/v1/nothing"), 404, "path-not-found"),
        (raw.put(at("/v1/networks")).bearer_auth(&platform.token), 405, "method-not-allowed"),
        (get("/v1/networks/not-an-id"), 400, "request-invalid"),
        (get("/v1/networks?limit=0"), 400, "request-invalid"),
        (get("/v1/networks?limit=x"), 400, "request-invalid"),
        (get("/v1/networks?colour=1"), 400, "request-invalid"),
        (get("/v1/networks?after=x"), 400, "cursor-invalid"),
        (get("/v1/events?after=x"), 400, "cursor-invalid"),
        (get("/v1/stream"), 400, "upgrade-required"),
        (get("/v1/networks/00000000-0000-0000-0000-000000000000"), 404, "not-found"),
        (raw.get(at("/v1/networks")), 401, "unauthenticated"),
        (raw.get(at("/v1/networks")).bearer_auth("nonsense"), 401, "unauthenticated"),
        (
            raw.post(at("/v1/networks")).bearer_auth(&platform.token).body("{}"),
            415,
            "media-type-unsupported",
        ),
    ] {
        let shown = format!("{request:?}");
        let problem = problem(request.send().await.expect("answered")).await;
        assert_eq!((problem.status, problem.code.as_str()), (status, code), "{shown}");
    }
}

#[tokio::test]
async fn an_unsafe_request_must_say_which_version_it_changes() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let mesh = network(&platform.admin(&[&replica])).await;
    let patch = |if_match: Option<&str>| {
        let url = replica.url.join(&format!("/v1/networks/{}", mesh.id)).expect("path");
        let mut request = platform
            .raw()
            .patch(url)
            .bearer_auth(&platform.token)
            .header("content-type", "application/json")
            .body(r#"{"name":"b"}"#);
        if let Some(tag) = if_match {
            request = request.header("if-match", tag.to_owned());
        }
        request.send()
    };
    assert_eq!(problem(patch(None).await.expect("sent")).await.code, "if-match-required");
    assert_eq!(problem(patch(Some("\"9\"")).await.expect("sent")).await.code, "version-mismatch");
    assert_eq!(problem(patch(Some("nine")).await.expect("sent")).await.code, "request-invalid");
    assert!(patch(Some("\"1\"")).await.expect("sent").status().is_success());
}

#[tokio::test]
async fn without_its_database_the_control_plane_puts_requests_off_and_says_so() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let admin = platform.admin(&[&replica]);
    admin.status().await.expect("works");
    // The database goes away under the running replica.
    let database = platform.database.role.clone();
    let elsewhere = platform.database.url.replace(&format!("/{database}?"), "/postgres?");
    let owner = sqlx::PgPool::connect_lazy(&elsewhere).expect("pool");
    let forbid = format!("ALTER DATABASE \"{database}\" ALLOW_CONNECTIONS false");
    sqlx::raw_sql(sqlx::AssertSqlSafe(forbid)).execute(&owner).await.expect("forbidden");
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(&database)
        .execute(&owner)
        .await
        .expect("cut off");
    let error = admin.create_network(&crate::new_network("a"), None).await.expect_err("put off");
    let problem = error.problem().expect("a problem");
    assert_eq!(problem.status, 503, "{problem:?}");
    let allow = format!("ALTER DATABASE \"{database}\" ALLOW_CONNECTIONS true");
    sqlx::raw_sql(sqlx::AssertSqlSafe(allow)).execute(&owner).await.expect("allowed");
    let back = async {
        while admin.create_network(&crate::new_network("b"), None).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), back)
        .await
        .expect("it comes back by itself");
}
