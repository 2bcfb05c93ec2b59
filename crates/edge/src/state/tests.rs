use std::{
    collections::BTreeSet,
    io::Write,
    time::{Duration, Instant},
};

use sextant_model::{
    DnsLabel, EnvironmentId, Epoch, HostPattern, NetworkId, RouteId,
    routing::{
        HealthSource, ProtocolHint,
        desired::{DesiredRoute, RoutingSnapshot},
    },
};
use uuid::Uuid;

use super::*;

fn cursor(event_id: i64) -> Cursor {
    Cursor { epoch: Epoch(Uuid::from_u128(7)), event_id }
}

pub fn route(number: u128, name: &str) -> DesiredRoute {
    DesiredRoute {
        route_id: RouteId(Uuid::from_u128(number)),
        environment_id: EnvironmentId(Uuid::from_u128(1)),
        hostname: Some(HostPattern::new(name).expect("name")),
        listen_port: 443,
        protocol_hint: ProtocolHint::TlsPassthrough,
        match_host: false,
        backend_process_type: DnsLabel::new("web").expect("name"),
        backend_port: 8443,
        proxy_protocol: false,
        health_source: HealthSource::None,
    }
}

pub fn snapshot(routes: Vec<DesiredRoute>) -> RoutingSnapshot {
    RoutingSnapshot {
        network_id: NetworkId(Uuid::from_u128(9)),
        routes,
        workloads: Vec::new(),
        deleted: BTreeSet::new(),
        withdrawn: BTreeSet::new(),
        skipped: None,
        mesh: None,
    }
}

fn good(folder: &StateFolder) -> (Saved, bool) {
    match folder.load().expect("read") {
        Loaded::Good { saved, whole } => (*saved, whole),
        other => panic!("{other:?}"),
    }
}

fn saves(keeper: &Keeper, cursor: Cursor) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while *keeper.saved().borrow() != Some(cursor) {
        assert!(Instant::now() < deadline, "{:?}", keeper.saved().borrow());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn mark(event_id: i64) -> Entry {
    Entry { cursor: cursor(event_id), event: None }
}

#[test]
fn what_was_kept_is_found_again() {
    let place = tempfile::tempdir().expect("folder");
    let folder = StateFolder::open(place.path().join("state")).expect("folder");
    assert!(matches!(folder.load().expect("read"), Loaded::Missing));
    let lock = folder.lock().expect("locked");
    assert!(matches!(folder.lock(), Err(StateError::Locked(_))));
    let keeper = Keeper::start(folder.clone(), Some(lock), None).expect("started");
    assert!(keeper.wants_snapshot());
    keeper.replace(cursor(5), snapshot(vec![route(1, "a.example")]));
    saves(&keeper, cursor(5));
    keeper.append(vec![mark(6), mark(8)]);
    saves(&keeper, cursor(8));
    assert!(!keeper.wants_snapshot());
    drop(keeper);
    let (saved, whole) = good(&folder);
    assert_eq!((saved.cursor, saved.routing.routes().len(), whole), (cursor(8), 1, true));

    // A later life goes on with the same journal.
    let lock = folder.lock().expect("the keeper has let go");
    let keeper = Keeper::start(folder.clone(), Some(lock), Some(saved.cursor)).expect("started");
    assert!(!keeper.wants_snapshot());
    keeper.append(vec![mark(9)]);
    saves(&keeper, cursor(9));
    drop(keeper);
    assert_eq!(good(&folder).0.cursor, cursor(9));
}

#[test]
fn a_journal_that_is_cut_short_is_good_up_to_there() {
    let place = tempfile::tempdir().expect("folder");
    let folder = StateFolder::open(place.path()).expect("folder");
    let keeper =
        Keeper::start(folder.clone(), Some(folder.lock().expect("locked")), None).expect("started");
    keeper.replace(cursor(5), snapshot(Vec::new()));
    keeper.append(vec![mark(6), mark(7)]);
    saves(&keeper, cursor(7));
    drop(keeper);
    let journal = std::fs::read(folder.journal_file()).expect("journal");
    for length in 0..journal.len() {
        std::fs::write(folder.journal_file(), &journal[..length]).expect("written");
        let (saved, whole) = good(&folder);
        let lines = journal[..length].split(|byte| *byte == b'\n').count() - 1;
        assert_eq!(saved.cursor, cursor([5, 6, 7][lines]), "{length}");
        assert_eq!(whole, journal[..length].last().is_none_or(|byte| *byte == b'\n'), "{length}");
    }
    let mut damaged = journal.clone();
    damaged[3] ^= 1;
    std::fs::write(folder.journal_file(), damaged).expect("written");
    let (saved, whole) = good(&folder);
    assert_eq!((saved.cursor, whole), (cursor(5), false));
}

#[test]
fn a_journal_that_goes_on_elsewhere_is_not_believed() {
    let place = tempfile::tempdir().expect("folder");
    let folder = StateFolder::open(place.path()).expect("folder");
    let keeper =
        Keeper::start(folder.clone(), Some(folder.lock().expect("locked")), None).expect("started");
    keeper.replace(cursor(100), snapshot(Vec::new()));
    saves(&keeper, cursor(100));
    let old = std::fs::read(folder.snapshot_file()).expect("snapshot");
    keeper.append(vec![mark(150)]);
    saves(&keeper, cursor(150));
    keeper.replace(cursor(200), snapshot(vec![route(1, "a.example")]));
    keeper.append(vec![mark(201)]);
    saves(&keeper, cursor(201));
    drop(keeper);
    let (saved, whole) = good(&folder);
    assert_eq!((saved.cursor, saved.routing.routes().len(), whole), (cursor(201), 1, true));
    // As somebody sees it who read the snapshot before it was replaced, and the journal after.
    std::fs::write(folder.snapshot_file(), old).expect("written");
    let (saved, whole) = good(&folder);
    assert_eq!((saved.cursor, saved.routing.routes().len(), whole), (cursor(100), 0, false));
}

#[test]
fn who_reads_while_another_writes_misses_nothing() {
    let place = tempfile::tempdir().expect("folder");
    let folder = StateFolder::open(place.path()).expect("folder");
    let keeper =
        Keeper::start(folder.clone(), Some(folder.lock().expect("locked")), None).expect("started");
    keeper.replace(cursor(1), snapshot(Vec::new()));
    saves(&keeper, cursor(1));
    let mut seen = 1;
    for round in 1..200 {
        keeper.append((0..5).map(|step| mark(round * 10 + step)).collect());
        keeper.replace(cursor(round * 10 + 5), snapshot(Vec::new()));
        keeper.append(vec![mark(round * 10 + 6)]);
        let on_disk = keeper.saved().borrow().expect("saved").event_id;
        let (saved, _) = good(&folder);
        assert!(saved.cursor.event_id >= on_disk.max(seen), "{} after {on_disk}", saved.cursor);
        seen = saved.cursor.event_id;
    }
}

#[test]
fn a_snapshot_that_was_changed_is_not_believed() {
    let place = tempfile::tempdir().expect("folder");
    let folder = StateFolder::open(place.path()).expect("folder");
    let text = format::encode_snapshot(cursor(5), &snapshot(vec![route(1, "a.example")]))
        .expect("encoded");
    let load = |text: &str| {
        std::fs::write(folder.snapshot_file(), text).expect("written");
        folder.load().expect("read")
    };
    assert!(matches!(load(&text), Loaded::Good { .. }));
    for bad in [&text[..text.len() / 2], &text.replace("a.example", "b.example"), ""] {
        assert!(matches!(load(bad), Loaded::Unreadable(_)), "{bad}");
    }
    let later = text.replacen("\"version\":1", "\"version\":2", 1);
    assert!(matches!(load(&later), Loaded::Unreadable(Damage::Version(2))));
    let aside = folder.set_aside().expect("moved");
    assert!(aside.exists());
    assert!(matches!(folder.load().expect("read"), Loaded::Missing));
}

#[test]
fn who_takes_over_waits_for_the_folder_and_begins_with_a_snapshot() {
    let place = tempfile::tempdir().expect("folder");
    let folder = StateFolder::open(place.path()).expect("folder");
    let lock = folder.lock().expect("locked");
    let next = Keeper::start(folder.clone(), None, Some(cursor(5))).expect("started");
    assert!(next.wants_snapshot());
    next.replace(cursor(6), snapshot(Vec::new()));
    assert_eq!(*next.saved().borrow(), None, "nothing is acknowledged yet");
    drop(lock);
    saves(&next, cursor(6));
}

#[test]
fn a_state_that_cannot_be_written_is_not_acknowledged_and_tried_again() {
    let place = tempfile::tempdir().expect("folder");
    let folder = StateFolder::open(place.path().join("state")).expect("folder");
    let keeper =
        Keeper::start(folder.clone(), Some(folder.lock().expect("locked")), None).expect("started");
    keeper.replace(cursor(5), snapshot(Vec::new()));
    saves(&keeper, cursor(5));
    // A folder in its place cannot be replaced by a file.
    std::fs::remove_file(folder.snapshot_file()).expect("removed");
    std::fs::create_dir(folder.snapshot_file()).expect("made");
    writeln!(File::create(folder.snapshot_file().join("x")).expect("file")).expect("full");
    keeper.replace(cursor(6), snapshot(Vec::new()));
    let deadline = Instant::now() + Duration::from_secs(10);
    while !keeper.wants_snapshot() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(*keeper.saved().borrow(), Some(cursor(5)));
    std::fs::remove_dir_all(folder.snapshot_file()).expect("removed");
    keeper.replace(cursor(7), snapshot(Vec::new()));
    saves(&keeper, cursor(7));
}

#[test]
fn nothing_is_written_through_a_symbolic_link() {
    let folder = tempfile::tempdir().expect("folder");
    let state = StateFolder::open(folder.path().join("state")).expect("folder");
    let target = folder.path().join("target");
    std::fs::write(&target, "precious").expect("written");
    for name in ["lock", "routing.journal"] {
        std::os::unix::fs::symlink(&target, state.path().join(name)).expect("linked");
    }
    assert!(matches!(state.lock(), Err(StateError::Io { .. })));
    assert!(matches!(state.load(), Err(StateError::Io { .. })));
    assert_eq!(std::fs::read_to_string(&target).expect("there"), "precious");
}
