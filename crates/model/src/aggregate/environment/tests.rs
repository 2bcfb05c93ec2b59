use super::*;
use crate::{
    event::EventBody,
    id::{AppId, EnvironmentId, NetworkId, OrgId},
    name::DnsLabel,
};
use uuid::Uuid;

const ORG: OrgId = OrgId(Uuid::from_u128(1));

/// Environment `prod` of org 1, in network 1, with `claimed` as its own and the ports it was granted.
pub(crate) fn environment(claimed: &[&str], granted: &[u16]) -> EnvironmentState {
    let mut state = EnvironmentState::default();
    state.apply(&EnvironmentState::create(EnvironmentCreated {
        org_id: ORG,
        app_id: AppId(Uuid::from_u128(1)),
        network_id: NetworkId(Uuid::from_u128(1)),
        name: DnsLabel::new("prod").expect("label"),
    }));
    for name in claimed {
        let event = state.claim_hostname(&pattern(name), None).expect("allowed");
        state.apply(&event.expect("claimed"));
    }
    for port in granted {
        let event = state.grant_port(*port, "test", &PortPolicy::default()).expect("allowed");
        state.apply(&event.expect("granted"));
    }
    state
}

fn pattern(text: &str) -> HostPattern {
    HostPattern::new(text).expect(text)
}

fn elsewhere() -> Holder {
    let environment_id = EnvironmentId(Uuid::from_u128(9));
    Holder { org_id: OrgId(Uuid::from_u128(9)), environment_id }
}

#[test]
fn a_hostname_is_claimed_proved_and_released() {
    let mut state = environment(&[], &[]);
    let name = pattern("shop.example.com");
    assert_eq!(state.claim(&name).expect_err("unknown").code(), "hostname-unclaimed");
    let claim = state.claim_hostname(&name, Some("secret".into())).expect("allowed");
    state.apply(&claim.expect("claimed"));
    let pending = Claim::Pending { challenge: "secret".into() };
    assert_eq!(state.claim(&name), Ok(&pending));
    assert_eq!(state.claim_hostname(&name, Some("other".into())), Ok(None), "one challenge");
    assert_eq!(
        state.surrender(&name, elsewhere()).expect_err("pending").code(),
        "hostname-unproved"
    );
    state.apply(&state.verify(&name).expect("allowed").expect("verified"));
    assert_eq!(state.claim(&name), Ok(&Claim::Owned));
    assert_eq!(state.verify(&name), Ok(None));
    assert_eq!(state.claim_hostname(&name, Some("again".into())), Ok(None));
    assert_eq!(state.release_hostname(&name, 2).expect_err("in use").code(), "hostname-in-use");
    state.apply(&state.release_hostname(&name, 0).expect("released"));
    assert!(state.hostnames().is_empty());
    assert!(state.verify(&name).is_err());
}

#[test]
fn a_trusted_claim_is_owned_at_once_and_fulfils_a_pending_one() {
    let mut state = environment(&["a.example.com"], &[]);
    assert_eq!(state.claim(&pattern("a.example.com")), Ok(&Claim::Owned));
    let name = pattern("b.example.com");
    state.apply(&state.claim_hostname(&name, Some("x".into())).expect("ok").expect("claimed"));
    let event = state.claim_hostname(&name, None).expect("ok").expect("fulfilled");
    assert!(matches!(event, EventBody::HostnameVerified(_)));
    state.apply(&event);
    assert_eq!(state.claim(&name), Ok(&Claim::Owned));
}

#[test]
fn a_wildcard_over_a_top_level_domain_is_nobodys() {
    let state = environment(&[], &[]);
    for (name, allowed) in
        [("*.com", false), ("*.example.com", true), ("localhost", true), ("a.com", true)]
    {
        let claimed = state.claim_hostname(&pattern(name), None);
        assert_eq!(claimed.is_ok(), allowed, "{name}");
        if let Err(refusal) = claimed {
            assert_eq!(refusal.code(), "hostname-too-broad");
            assert!(refusal.to_string().starts_with("hostname \"*.com\""), "{refusal}");
        }
    }
}

#[test]
fn a_move_leaves_the_name_on_one_side_only() {
    let mut from = environment(&["a.example.com"], &[]);
    let mut to = environment(&[], &[]);
    let name = pattern("a.example.com");
    to.apply(&to.claim_hostname(&name, Some("x".into())).expect("ok").expect("pending"));
    let (surrendered, acquired) = (
        from.surrender(&name, elsewhere()).expect("surrendered"),
        to.acquire(&name, elsewhere()).expect("acquired"),
    );
    from.apply(&surrendered);
    to.apply(&acquired);
    assert!(from.claim(&name).is_err());
    assert_eq!(to.claim(&name), Ok(&Claim::Owned));
}

#[test]
fn ports_are_granted_with_a_reason_and_revoked_when_unused() {
    let mut state = environment(&[], &[]);
    let policy = PortPolicy::default();
    let grant = |port, reason: &str| state.grant_port(port, reason, &policy);
    for (port, reason, code) in [
        (0, "x", "port-invalid"),
        (25, "x", "port-denied"),
        (5432, "", "reason-invalid"),
        (5432, " \t ", "reason-invalid"),
        (5432, "two\nlines", "reason-invalid"),
        (5432, &"x".repeat(257), "reason-invalid"),
    ] {
        assert_eq!(grant(port, reason).expect_err(reason).code(), code, "{port} {reason:?}");
    }
    let granted = grant(5432, " partners ").expect("allowed").expect("granted");
    assert!(matches!(&granted, EventBody::PortGranted(body) if body.reason == "partners"));
    state.apply(&granted);
    assert_eq!(state.grant_port(5432, "again", &policy), Ok(None));
    assert_eq!(state.revoke_grant(5432, 1).expect_err("used").code(), "port-grant-in-use");
    assert_eq!(state.revoke_grant(5433, 0).expect_err("unknown").code(), "port-grant-unknown");
    state.apply(&state.revoke_grant(5432, 0).expect("revoked"));
    assert!(state.grants().is_empty());
}

#[test]
fn an_environment_is_deleted_only_when_empty_and_gives_back_what_it_holds() {
    let mut state = environment(&["a.example.com"], &[5432]);
    for (routes, workloads) in [(1, 0), (0, 1)] {
        let refusal = state.delete(routes, workloads).expect_err("in use");
        assert_eq!(refusal.code(), "environment-in-use");
    }
    let events = state.delete(0, 0).expect("deleted");
    assert!(matches!(
        events[..],
        [
            EventBody::HostnameReleased(_),
            EventBody::PortGrantRevoked(_),
            EventBody::EnvironmentDeleted(_)
        ]
    ));
    for event in &events {
        state.apply(event);
    }
    assert!(state.hostnames().is_empty() && state.grants().is_empty());
    assert!(state.created().is_ok());
    let gone = Refusal::NotFound(AggregateKind::Environment);
    assert_eq!(state.delete(0, 0), Err(gone.clone()));
    assert_eq!(state.claim_hostname(&pattern("a.example.com"), None), Err(gone));
}
