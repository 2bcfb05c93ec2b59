use super::*;

#[test]
fn an_event_survives_its_columns() {
    let body =
        EventBody::NetworkRenamed(NetworkRenamed { name: DnsLabel::new("mesh").expect("label") });
    let (event_type, payload) = body.to_columns().expect("columns");
    assert_eq!(event_type, "network-renamed");
    assert_eq!(payload, serde_json::json!({ "name": "mesh" }));
    assert_eq!(EventBody::from_columns(&event_type, payload), body);
}

#[test]
fn what_a_newer_version_wrote_is_unknown_and_never_an_error() {
    for (event_type, payload) in [
        ("comet-landed", serde_json::json!({ "secret": "sesame" })),
        ("network-renamed", serde_json::json!({ "title": "sesame" })),
        ("network-renamed", serde_json::json!("sesame")),
        ("unknown", serde_json::Value::Null),
        ("", serde_json::json!([])),
    ] {
        let body = EventBody::from_columns(event_type, payload.clone());
        let unknown = body.unknown().expect("unknown").clone();
        assert_eq!(unknown.event_type, event_type);
        assert!(body.to_columns().is_err(), "it is written by nobody who cannot read it");
        let wire = serde_json::json!({
            "event_id": 3, "occurred_at": "1970-01-01T00:00:00Z", "aggregate_type": "comet",
            "aggregate_id": Uuid::nil(), "aggregate_seq": 1, "actor_id": Uuid::nil(),
            "event_type": event_type, "payload": payload, "colour": "green",
        });
        let event: Event = serde_json::from_value(wire).expect("an event");
        assert_eq!(event.aggregate_type, AggregateKind::Unknown);
        assert_eq!(event.body.unknown().map(|u| u.event_type.as_str()), Some(event_type));
        let json = serde_json::to_string(&event).expect("json");
        assert!(!json.contains("sesame"), "{json}");
        let again: Event = serde_json::from_str(&json).expect("an event");
        assert!(again.body.unknown().is_some());
    }
}

#[test]
fn the_list_of_types_names_every_event() {
    let body = EventBody::from_columns("comet-landed", serde_json::json!({}));
    let reason = &body.unknown().expect("unknown").reason;
    let (_, expected) = reason.split_once("expected one of ").expect("the types it knows");
    let known: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
    assert_eq!(known, EventBody::TYPES);
}

#[test]
fn the_wire_form_is_flat_with_type_and_payload_side_by_side() {
    let event = Event {
        event_id: 3,
        occurred_at: Timestamp::from_unix_seconds(0).expect("epoch"),
        aggregate_type: AggregateKind::Network,
        aggregate_id: Uuid::nil(),
        aggregate_seq: 1,
        actor_id: ActorId::SYSTEM,
        body: EventBody::NetworkDeleted(NetworkDeleted {}),
    };
    let json = serde_json::to_value(&event).expect("json");
    assert_eq!(json["event_type"], "network-deleted");
    assert_eq!(json["payload"], serde_json::json!({}));
    assert_eq!(json["occurred_at"], "1970-01-01T00:00:00Z");
    assert_eq!(serde_json::from_value::<Event>(json).expect("event"), event);
}
