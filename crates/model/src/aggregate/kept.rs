//! A fold that was kept and taken up again is the fold of the whole history.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection, prelude::*};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// A payload of any type of event: every field there is, in one of several versions.
fn payload(event_type: &str, n: u8) -> Value {
    let id = |kind: u8| Uuid::from_u128(u128::from(kind) * 256 + u128::from(n));
    let key = crate::key::PublicKey::new([n + 1; 32]).expect("key");
    let health = ["starting", "healthy", "unhealthy"][usize::from(n) % 3];
    let challenge = n.is_multiple_of(2).then(|| format!("prove-{n}"));
    let allowed = (9000 + u16::from(n)).to_string();
    let holder = json!({ "org_id": id(1), "environment_id": id(2) });
    let mut fields = json!({
        "name": format!("name-{n}"), "ip_stack_mode": "ipv6", "topology": "full-mesh",
        "ipv6_prefix": format!("fd00:{n}::/48"), "node_name": format!("node-{n}"),
        "roles": ["worker"], "role": "admin", "expires_at": format!("203{n}-01-01T00:00:00Z"),
        "not_after": format!("203{n}-01-01T00:00:00Z"), "secret_hash": format!("{n:064}"),
        "public_key": key, "endpoint": format!("[2001:db8::{n}]:51820"),
        "addresses": { "ipv6": format!("fd00:{n}::1") }, "prefix": format!("fd00:{n}:0:1::/64"),
        "client_key_fingerprint": format!("{n:064}"), "serial": format!("{n:032}"),
    });
    let more = [
        json!({
        "org_id": id(1), "environment_id": id(2), "app_id": id(3), "network_id": id(4),
        "node_id": id(5), "token_id": id(6), "release_id": id(7), "workload_id": id(8),
        "by": id(9), "hostname": format!("h{n}.example.com"),
        "challenge": challenge, "from": holder, "to": holder,
        }),
        json!({
        "number": n, "processes": [{ "process_type": "web", "instances": n + 1 }],
        "process_type": "web", "address": format!("fd00:{n}:0:1::7"),
        "health": health,
        "port": 8000 + u16::from(n), "reason": "asked for", "allow": [allowed],
        "deny": ["25"], "limits": { "routes": n }, "listen_port": 443, "protocol_hint": "tls_passthrough",
        }),
        json!({
        "match_host": false, "backend_process_type": "web", "backend_port": 8080 + u16::from(n),
        "proxy_protocol": n.is_multiple_of(2), "ipv4_required": false, "health_source": "none",
        }),
    ];
    for fields_of in more {
        let Value::Object(fields_of) = fields_of else { continue };
        fields.as_object_mut().expect("an object").extend(fields_of);
    }
    if event_type.starts_with("route-") {
        fields["endpoint"] = json!("ipv6_only");
        fields["to"] = fields.clone();
    }
    fields
}

fn event(event_type: &str, n: u8) -> EventBody {
    let body = EventBody::from_columns(event_type, payload(event_type, n));
    assert!(body.unknown().is_none(), "give payload() the fields of \"{event_type}\": {body:?}");
    body
}

fn fold<A: Aggregate>(mut state: A, events: &[EventBody]) -> A {
    for event in events {
        state.apply(event);
    }
    state
}

/// The fold as it is kept after `cut` events, taken up again for the rest.
fn through_json<A: Aggregate>(events: &[EventBody], cut: usize) -> A {
    let kept = serde_json::to_value(fold(A::default(), &events[..cut])).expect("kept");
    fold(serde_json::from_value(kept).expect("read again"), &events[cut..])
}

macro_rules! every_aggregate {
    ($check:ident) => {
        $check!(
            ApiTokenState,
            AppState,
            EnrolmentTokenState,
            EnvironmentState,
            NetworkState,
            NodeState,
            OrgState,
            PortPolicyState,
            ReleaseState,
            RouteState,
            WorkloadState
        )
    };
}

fn histories() -> impl Strategy<Value = Vec<EventBody>> {
    let types = prop::sample::select(EventBody::TYPES.to_vec());
    collection::vec((types, 0_u8..6).prop_map(|(name, n)| event(name, n)), 0..80)
}

proptest! {
    #[test]
    fn a_fold_that_was_kept_anywhere_in_a_history_goes_on_as_if_it_had_not_been(
        history in histories(), cut in 0_usize..80,
    ) {
        let cut = cut.min(history.len());
        macro_rules! check {
            ($($state:ty),*) => {
                $(prop_assert_eq!(
                    through_json::<$state>(&history, cut),
                    fold(<$state>::default(), &history)
                );)*
            };
        }
        every_aggregate!(check);
    }
}

#[test]
fn a_fold_in_another_form_has_another_number() {
    let mut kinds = BTreeSet::new();
    let mut forms = BTreeMap::new();
    let history: Vec<_> = EventBody::TYPES.iter().map(|name| event(name, 2)).collect();
    macro_rules! check {
        ($($state:ty),*) => {
            $(
                kinds.insert(<$state>::KIND);
                let alive: Vec<_> = history.iter().filter(|event| {
                    let event_type = event.to_columns().expect("columns").0;
                    // What ends a thing would hide what it held before.
                    event.kind() == <$state>::KIND
                        && !["released", "revoked", "surrendered", "deleted"]
                            .iter().any(|end| event_type.ends_with(end))
                }).cloned().collect();
                let state = fold(<$state>::default(), &alive);
                let form = json!({ "format": <$state>::FORMAT, "state": state });
                forms.insert(<$state>::KIND.as_str(), form);
            )*
        };
    }
    every_aggregate!(check);
    assert_eq!(kinds, AggregateKind::ALL.iter().copied().collect());
    let now = serde_json::to_value(forms).expect("JSON");
    let written: Value = serde_json::from_str(include_str!("kept.json")).expect("JSON");
    assert_eq!(
        now, written,
        "what is kept has changed: raise the FORMAT of the aggregate, and write the new form to \
         crates/model/src/aggregate/kept.json"
    );
}
