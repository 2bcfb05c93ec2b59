use super::{Ingress, hostname, raw, refused, tls};

/// Every bad input of a route: what is posted, the code, and what the text must say. `{E}` stands
/// for the environment's path.
const ROUTES: [(&str, &str, &str); 25] = [
    (
        r#"{"hostname":"taken.example.com","backend_port":1}"#,
        "hostname-taken",
        r#"hostname "taken.example.com" belongs to environment "other/shop/shop"; move it from there, or release it there first"#,
    ),
    (
        r#"{"listen_port":25,"protocol_hint":"tcp_raw","backend_port":1}"#,
        "port-denied",
        "listen_port 25 is denied on this platform; use another port",
    ),
    (
        r#"{"listen_port":5433,"protocol_hint":"tcp_raw","backend_port":1}"#,
        "port-not-granted",
        "listen_port 5433 is not open to this environment; use 80 or 443, or ask an operator for a port grant",
    ),
    (
        r#"{"listen_port":5432,"protocol_hint":"tcp_raw","backend_port":1}"#,
        "port-taken",
        "listen_port 5432 is taken by route",
    ),
    (
        r#"{"hostname":"db.example.com","listen_port":5432,"backend_port":1}"#,
        "port-taken",
        "a raw TCP route has its port for itself, use another port",
    ),
    (
        r#"{"listen_port":443,"protocol_hint":"tcp_raw","backend_port":1}"#,
        "port-shared",
        "listen_port 443 is shared by all environments",
    ),
    (
        r#"{"hostname":"mine.example.com","backend_port":1}"#,
        "route-exists",
        r#"hostname "mine.example.com" has a route on listen_port 443 already"#,
    ),
    (
        r#"{"hostname":"*.*.example.com","backend_port":1}"#,
        "body-invalid",
        r#"hostname "*.*.example.com" is not a wildcard over one label"#,
    ),
    (
        r#"{"hostname":"a.*.example.com","backend_port":1}"#,
        "body-invalid",
        "is not a wildcard over one label",
    ),
    (
        r#"{"hostname":"*.com","backend_port":1}"#,
        "hostname-too-broad",
        r#"hostname "*.com" covers everything directly below a top-level domain"#,
    ),
    (
        r#"{"hostname":"192.0.2.1","backend_port":1}"#,
        "body-invalid",
        r#"hostname "192.0.2.1" is an IP address; give a DNS name"#,
    ),
    (
        r#"{"hostname":"2001:db8::1","backend_port":1}"#,
        "body-invalid",
        r#"hostname "2001:db8::1" is an IP address; give a DNS name"#,
    ),
    (r#"{"backend_port":1}"#, "hostname-needed", "hostname is missing"),
    (
        r#"{"hostname":"new.example.com","backend_process_type":"worker","backend_port":1}"#,
        "process-type-unknown",
        r#"backend_process_type "worker" does not exist in environment "{E}"; use one of "web""#,
    ),
    (
        r#"{"hostname":"new.example.com","protocol_hint":"http_terminate","backend_port":1}"#,
        "protocol-hint-reserved",
        r#"protocol_hint "http_terminate" is reserved; use "tls_passthrough" or "tcp_raw""#,
    ),
    (
        r#"{"hostname":"new.example.com","protocol_hint":"quic","backend_port":1}"#,
        "body-invalid",
        "protocol_hint: unknown variant `quic`",
    ),
    (
        r#"{"hostname":"new.example.com","endpoint":"shared_ipv4_pool","backend_port":1}"#,
        "endpoint-reserved",
        r#"endpoint "shared_ipv4_pool" is reserved; use "ipv6_only""#,
    ),
    (
        r#"{"hostname":"new.example.com","endpoint":"dedicated_ipv4","backend_port":1}"#,
        "ipv4-add-on-needed",
        r#"endpoint "dedicated_ipv4" needs the IPv4 add-on, which is not enabled for environment "{E}""#,
    ),
    (
        r#"{"hostname":"new.example.com","ipv4_required":true,"backend_port":1}"#,
        "ipv4-add-on-needed",
        r#"ipv4_required true needs the IPv4 add-on, which is not enabled for environment "{E}""#,
    ),
    (
        r#"{"hostname":"new.example.com","match_host":true,"backend_port":1}"#,
        "match-host-unusable",
        r#"match_host needs protocol_hint "tcp_raw", a hostname and listen_port 80"#,
    ),
    (
        r#"{"hostname":"new.example.com","health_source":"udp","backend_port":1}"#,
        "body-invalid",
        r#"health_source "udp" does not exist; use "none", "tcp" or "tcp:PORT""#,
    ),
    (
        r#"{"hostname":"new.example.com","health_source":"tcp:0","backend_port":1}"#,
        "body-invalid",
        r#"health_source "tcp:0" does not exist"#,
    ),
    (
        r#"{"hostname":"new.example.com","backend_port":0}"#,
        "backend-port-invalid",
        "backend_port 0 is no port; give one from 1 to 65535",
    ),
    (
        r#"{"hostname":"new.example.com","backend_port":65536}"#,
        "body-invalid",
        "backend_port: invalid value: integer `65536`",
    ),
    (
        r#"{"hostname":"new.example.com","backend_port":1,"colour":"red"}"#,
        "body-invalid",
        "unknown field `colour`",
    ),
];

#[tokio::test]
async fn every_bad_route_is_refused_by_field_and_reason_and_nothing_changes() {
    let ingress = Ingress::new().await;
    let (org, other) = (ingress.org("acme").await, ingress.org("other").await);
    let environment = ingress.environment(org, "web").await;
    let foreign = ingress.environment(other, "shop").await;
    let admin = &ingress.admin;
    admin.claim_hostname(foreign.id, &hostname("taken.example.com"), None).await.expect("theirs");
    admin.create_route(environment.id, &tls("mine.example.com"), None).await.expect("mine");
    let grant = sextant_api::resource::port::NewPortGrant { port: 5432, reason: "test".into() };
    admin.grant_port(environment.id, &grant, None).await.expect("granted");
    admin.create_route(environment.id, &raw(5432), None).await.expect("raw");
    let before = ingress.events().await;
    for (body, code, text) in ROUTES {
        let path = format!("/v1/environments/{}/routes", environment.id);
        let problem = post(&ingress, &path, body).await;
        assert_eq!(problem.code, code, "{body}: {}", problem.detail);
        let text = text.replace("{E}", &environment.path());
        assert!(problem.detail.contains(&text), "{body}: {}", problem.detail);
    }
    assert_eq!(ingress.events().await, before, "a refused route is no event");
    // Nothing of what was refused is held back either.
    admin.create_route(environment.id, &tls("new.example.com"), None).await.expect("free");
}

#[tokio::test]
async fn a_foreign_hostname_is_refused_with_what_to_do() {
    let ingress = Ingress::with(|hostnames| {
        hostnames.platform_domain = "apps.test".parse().ok();
    })
    .await;
    let environment = ingress.environment(ingress.org("acme").await, "web").await;
    let before = ingress.events().await;
    let created = ingress.admin.create_route(environment.id, &tls("www.bank.example"), None).await;
    let (code, text) = refused(created);
    assert_eq!(code, "hostname-unproved");
    assert_eq!(
        text,
        "hostname \"www.bank.example\" is not proved for environment \"acme/web/web\"; claim it \
         there, publish the TXT record that is answered and verify it"
    );
    assert_eq!(ingress.events().await, before);
    ingress.admin.create_route(environment.id, &tls("web.apps.test"), None).await.expect("ours");
}

#[tokio::test]
async fn bad_ports_and_policies_are_refused_by_field_and_reason() {
    let ingress = Ingress::new().await;
    let environment = ingress.environment(ingress.org("acme").await, "web").await;
    let grants = format!("/v1/environments/{}/port-grants", environment.id);
    let before = ingress.events().await;
    for (body, code, text) in [
        (r#"{"port":25,"reason":"mail"}"#, "port-denied", "port cannot be granted"),
        (r#"{"port":0,"reason":"x"}"#, "port-invalid", "port cannot be granted"),
        (r#"{"port":70000,"reason":"x"}"#, "body-invalid", "port: invalid value"),
        (r#"{"port":5432,"reason":""}"#, "reason-invalid", "reason must be one line"),
        (r#"{"port":5432}"#, "body-invalid", "missing field `reason`"),
    ] {
        let problem = post(&ingress, &grants, body).await;
        assert_eq!(problem.code, code, "{body}: {}", problem.detail);
        assert!(problem.detail.contains(text), "{body}: {}", problem.detail);
    }
    for (body, text) in [
        (r#"{"allow":["9-8"],"deny":[]}"#, "port range \"9-8\" cannot be read"),
        (r#"{"allow":[],"deny":["0"]}"#, "deny[0]: port range \"0\" cannot be read"),
        (r#"{"allow":[]}"#, "missing field `deny`"),
    ] {
        let problem = send(&ingress, http::Method::PUT, "/v1/port-policy", body).await;
        assert_eq!(problem.code, "body-invalid", "{body}: {}", problem.detail);
        assert!(problem.detail.contains(text), "{body}: {}", problem.detail);
    }
    assert_eq!(ingress.events().await, before);
}

async fn post(ingress: &Ingress, path: &str, body: &str) -> sextant_api::Problem {
    send(ingress, http::Method::POST, path, body).await
}

async fn send(
    ingress: &Ingress,
    method: http::Method,
    path: &str,
    body: &str,
) -> sextant_api::Problem {
    let request = ingress
        .platform
        .raw()
        .request(method, ingress.replica.url.join(path).expect("path"))
        .bearer_auth(&ingress.platform.token)
        .header("content-type", "application/json")
        .body(body.to_owned());
    request.send().await.expect("answered").json().await.expect("a problem")
}
