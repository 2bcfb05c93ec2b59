use super::*;

const SETTINGS: LimitSettings = LimitSettings {
    connections: 10,
    prereads: 6,
    source_connections: 4,
    source_prereads: 2,
    ipv6_prefix: 64,
    ipv4_prefix: 32,
};

fn limits(settings: LimitSettings) -> Arc<Limits> {
    Arc::new(Limits::new(settings, [RandomState::new(), RandomState::new()]))
}

fn source(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn a_source_gets_its_share_and_no_more() {
    let limits = limits(SETTINGS);
    let from = |text| limits.admit(Some(source(text)));
    let mut first = from("2001:db8::1").expect("first");
    let _second = from("2001:db8::2").expect("second");
    assert_eq!(from("2001:db8::ffff").err(), Some(Limit::SourcePrereads), "one /64");
    let _other = from("2001:db8:0:1::1").expect("another /64");
    first.end_preread();
    let _third = from("2001:db8::3").expect("a preread is over");
    assert_eq!(limits.source(source("2001:db8::9")), SourceUse { connections: 3, prereads: 2 });
}

#[test]
fn connections_count_after_they_are_routed() {
    let limits = limits(SETTINGS);
    let routed: Vec<_> = (0..4)
        .map(|_| {
            let mut admission = limits.admit(Some(source("192.0.2.1"))).expect("admitted");
            admission.end_preread();
            admission
        })
        .collect();
    let refused = limits.admit(Some(source("192.0.2.1"))).err();
    assert_eq!(refused, Some(Limit::SourceConnections));
    let mapped = limits.admit(Some(source("::ffff:192.0.2.1"))).err();
    assert_eq!(mapped, Some(Limit::SourceConnections), "the same host");
    assert!(limits.admit(Some(source("192.0.2.2"))).is_ok(), "another host");
    drop(routed);
    assert!(limits.admit(Some(source("192.0.2.1"))).is_ok());
}

#[test]
fn everyone_together_is_limited_too() {
    let limits = limits(SETTINGS);
    let mut admitted: Vec<_> = (0..6).map(|_| limits.admit(None).expect("admitted")).collect();
    assert_eq!(limits.admit(None).err(), Some(Limit::Prereads));
    admitted.iter_mut().for_each(Admission::end_preread);
    admitted.extend((0..4).map(|_| limits.admit(None).expect("admitted")));
    assert_eq!(limits.admit(None).err(), Some(Limit::Connections));
}

#[test]
fn a_source_that_is_named_later_counts_from_then_on() {
    let limits = limits(SETTINGS);
    let mut admission = limits.admit(None).expect("admitted");
    let client = source("198.51.100.7");
    assert_eq!(limits.source(client).connections, 0);
    admission.name_source(client).expect("below its limit");
    assert_eq!(limits.source(client), SourceUse { connections: 1, prereads: 1 });
    let _second = limits.admit(Some(client)).expect("second");
    let mut third = limits.admit(None).expect("third");
    assert_eq!(third.name_source(client), Err(Limit::SourcePrereads));
    drop(third);
    assert_eq!(limits.source(client).connections, 2);
}

#[test]
fn what_is_kept_is_limited_and_freed() {
    let limits = limits(LimitSettings { source_prereads: 100, ..SETTINGS });
    let mut first = limits.admit(None).expect("first");
    let mut second = limits.admit(None).expect("second");
    assert_eq!(first.keep(MOST_KEPT - 1000), Ok(()));
    assert_eq!(first.keep(MOST_KEPT), Ok(()), "not counted twice");
    assert_eq!(second.keep(1), Err(Limit::KeptBytes));
    first.end_preread();
    assert_eq!(second.keep(1), Err(Limit::KeptBytes), "until a backend has them");
    first.release_kept();
    assert_eq!(second.keep(MOST_KEPT), Ok(()));
    drop(second);
    assert_eq!(limits.kept.load(Relaxed), 0);
}

#[test]
fn nothing_stays_counted() {
    let limits = limits(SETTINGS);
    let client = source("2001:db8::1");
    for round in 0..100_u32 {
        let mut admissions: Vec<_> = (0..12).map(|_| limits.admit(Some(client))).collect();
        for admission in admissions.iter_mut().flatten() {
            if round % 2 == 0 {
                admission.end_preread();
            }
        }
    }
    assert_eq!((limits.connections(), limits.prereads()), (0, 0));
    assert_eq!(limits.source(client), SourceUse { connections: 0, prereads: 0 });
}

#[test]
fn prefix_lengths_of_zero_and_of_all_bits_work() {
    for (ipv6_prefix, ipv4_prefix, shared) in [(0, 0, true), (128, 32, false), (200, 200, false)] {
        let limits = limits(LimitSettings { ipv6_prefix, ipv4_prefix, ..SETTINGS });
        let _one = limits.admit(Some(source("2001:db8::1"))).expect("one");
        let _two = limits.admit(Some(source("192.0.2.1"))).expect("two");
        assert_eq!(limits.source(source("2a00::1")).connections == 1, shared);
        assert_eq!(limits.source(source("10.0.0.1")).connections == 1, shared);
    }
}
