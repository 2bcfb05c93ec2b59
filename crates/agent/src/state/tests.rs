use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv6Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
};

use sextant_daemon::clock::SystemEntropy;
use sextant_model::{Epoch, NodeRole, PeerAddresses, Prefix, PublicKey, membership::Member};
use uuid::Uuid;

use super::*;

pub(crate) fn node_id(n: u16) -> NodeId {
    NodeId(Uuid::from_u128(u128::from(n)))
}

pub(crate) fn member(n: u16) -> Member {
    let address = Ipv6Addr::new(0xfd00, 0, 0, n, 0, 0, 0, 1);
    let mut key = [9; 32];
    key[0..2].copy_from_slice(&n.to_be_bytes());
    Member {
        node_id: node_id(n),
        name: DnsLabel::new(format!("n{n}")).expect("label"),
        roles: vec![NodeRole::Worker],
        public_key: PublicKey::new(key).expect("key"),
        endpoint: SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 51820)),
        addresses: PeerAddresses::v6(address),
        prefix: Prefix::containing(address.into(), 64).expect("prefix"),
    }
}

pub(crate) fn mesh(nodes: impl IntoIterator<Item = u16>) -> Membership {
    Membership {
        network_id: NetworkId(Uuid::from_u128(1)),
        name: DnsLabel::new("mesh").expect("label"),
        prefix: "fd00::/48".parse().expect("prefix"),
        members: nodes.into_iter().map(|n| (node_id(n), member(n))).collect::<BTreeMap<_, _>>(),
        departed: BTreeSet::new(),
        workloads: BTreeMap::new(),
        released: BTreeSet::new(),
        skipped: None,
    }
}

pub(crate) fn cursor(event_id: i64) -> Cursor {
    Cursor { epoch: Epoch(Uuid::from_u128(7)), event_id }
}

fn folder() -> (tempfile::TempDir, StateFolder) {
    let root = tempfile::tempdir().expect("folder");
    let folder = StateFolder::new(root.path().join("state"));
    private_file::create_folder(folder.path()).expect("made");
    (root, folder)
}

fn saved() -> SavedState {
    SavedState { cursor: cursor(42), membership: mesh([1, 2, 3]) }
}

#[test]
fn a_state_survives_the_disk() {
    let (_root, folder) = folder();
    assert!(matches!(folder.state().expect("readable"), LoadedState::Missing));
    folder.save_state(&saved()).expect("saved");
    let LoadedState::Good(state) = folder.state().expect("readable") else { panic!("not good") };
    assert_eq!(state, saved());
}

#[test]
fn a_state_cut_anywhere_is_unreadable_and_never_empty() {
    let (_root, folder) = folder();
    let text = saved::encode(&saved());
    for length in 0..text.len() {
        std::fs::write(folder.file("state.json"), &text[..length]).expect("written");
        let state = folder.state().expect("readable");
        assert!(matches!(state, LoadedState::Unreadable(Damage::Form(_))), "{length}: {state:?}");
    }
    std::fs::write(folder.file("state.json"), [0xff, 0xfe]).expect("written");
    let state = folder.state().expect("readable");
    assert!(matches!(state, LoadedState::Unreadable(Damage::NotText)), "{state:?}");
}

#[test]
fn a_changed_state_fails_its_checksum() {
    let text = saved::encode(&saved());
    for (from, to) in [("n1", "n9"), (":42", ":43"), ("2001:db8::2", "2001:db8::3")] {
        assert!(text.contains(from), "{from}");
        assert_eq!(saved::decode(&text.replacen(from, to, 1)), Err(Damage::Checksum), "{from}");
    }
    let later = text.replace("\"version\":1", "\"version\":2");
    assert_eq!(saved::decode(&later), Err(Damage::Version(2)));
    let mut fields: serde_json::Value = serde_json::from_str(&text).expect("json");
    fields.as_object_mut().expect("object").remove("sha256");
    assert_eq!(saved::decode(&fields.to_string()), Err(Damage::Checksum), "none is wrong too");
}

#[test]
fn a_state_of_before_there_were_workloads_is_still_believed() {
    let text = saved::encode(&saved());
    let mut fields: serde_json::Value = serde_json::from_str(&text).expect("json");
    let membership = fields["membership"].as_object_mut().expect("object");
    assert!(membership.remove("workloads").is_some() && membership.remove("released").is_some());
    fields.as_object_mut().expect("object").remove("sha256");
    let sum = saved::checksum(&fields);
    fields["sha256"] = sum.into();
    assert_eq!(saved::decode(&fields.to_string()), Ok(saved()));
}

#[test]
fn an_unreadable_state_is_kept_aside() {
    let (_root, folder) = folder();
    std::fs::write(folder.file("state.json"), "{").expect("written");
    let aside = folder.set_state_aside().expect("moved");
    assert!(matches!(folder.state().expect("readable"), LoadedState::Missing));
    assert_eq!(std::fs::read_to_string(aside).expect("kept"), "{");
}

#[test]
fn keys_are_made_once_and_are_private() {
    let (_root, folder) = folder();
    let key = folder.wireguard_key(&SystemEntropy).expect("key").reveal();
    let client = folder.client_key().expect("key");
    assert_eq!(folder.wireguard_key(&SystemEntropy).expect("key").reveal(), key);
    assert_eq!(folder.client_key().expect("key"), client);
    for name in ["wireguard.key", "client.key"] {
        let mode = std::fs::metadata(folder.file(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn damaged_keys_are_fatal_and_never_overwritten() {
    let (_root, folder) = folder();
    for name in ["wireguard.key", "client.key", "node.json"] {
        private_file::write(&folder.file(name), b"half a").expect("written");
    }
    let errors = [
        folder.wireguard_key(&SystemEntropy).expect_err("damaged").to_string(),
        folder.client_key().expect_err("damaged").to_string(),
        folder.node().expect_err("damaged").to_string(),
    ];
    for (error, name) in errors.iter().zip(["wireguard.key", "client.key", "node.json"]) {
        assert!(error.contains(name) && error.contains("restore it"), "{error}");
        assert!(!error.contains("half a"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.file(name)).expect("kept"), "half a");
    }
}

#[test]
fn leftovers_of_a_crash_between_the_files_of_an_enrolment_mean_not_enrolled() {
    let (_root, folder) = folder();
    let key = folder.wireguard_key(&SystemEntropy).expect("key").reveal();
    folder.save_certificate("certificate", "ca").expect("saved");
    folder.save_state(&saved()).expect("saved");
    std::fs::write(folder.file("node.json.4711.new"), "{\"node_id\"").expect("leftover");
    assert_eq!(folder.node().expect("readable"), None);
    let again = folder.wireguard_key(&SystemEntropy).expect("key").reveal();
    assert_eq!(again, key, "the repeat enrols with the same key");
    let node = NodeIdentity {
        node_id: node_id(1),
        network_id: mesh([]).network_id,
        name: DnsLabel::new("n1").expect("label"),
    };
    folder.save_node(&node).expect("saved");
    assert_eq!(folder.node().expect("readable"), Some(node));
}

#[test]
fn an_enrolled_node_that_lost_a_key_gets_no_new_one() {
    let (_root, folder) = folder();
    let node = NodeIdentity {
        node_id: node_id(1),
        network_id: mesh([]).network_id,
        name: DnsLabel::new("n1").expect("label"),
    };
    folder.save_node(&node).expect("saved");
    let errors = [
        folder.wireguard_key(&SystemEntropy).expect_err("missing").to_string(),
        folder.client_key().expect_err("missing").to_string(),
    ];
    for error in errors {
        assert!(error.contains("it is missing, and the node is enrolled"), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1, "nothing was made");
}

#[test]
fn a_folder_that_others_may_enter_is_refused_with_the_remedy() {
    let (_root, folder) = folder();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    let error = folder.lock().expect_err("open to others");
    assert!(error.to_string().contains("chmod 0700"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn one_agent_per_folder() {
    let (_root, folder) = folder();
    let lock = folder.lock().expect("first");
    let error = folder.lock().expect_err("second").to_string();
    assert!(error.contains("another sextant-agent"), "{error}");
    drop(lock);
    folder.lock().expect("after the first has ended");
}

#[test]
fn a_node_that_left_stays_away() {
    let (_root, folder) = folder();
    assert!(!folder.has_left());
    folder.save_left("withdrawn").expect("saved");
    assert!(folder.has_left());
}

#[test]
fn private_files_that_others_may_read_are_named_with_their_mode() {
    let (root, folder) = folder();
    folder.wireguard_key(&SystemEntropy).expect("key");
    folder.client_key().expect("key");
    let token = root.path().join("token");
    std::fs::write(&token, "text").expect("written");
    let chmod = |path: &Path, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("mode");
    };
    chmod(&token, 0o400);
    assert_eq!(folder.exposed_files(Some(&token)), []);
    chmod(&folder.file("client.key"), 0o644);
    chmod(&token, 0o640);
    let found = folder.exposed_files(Some(&token));
    let expected = [(folder.file("client.key"), 0o644), (token, 0o640)];
    assert_eq!(found, expected.map(|(path, mode)| ExposedFile { path, mode }));
    let refused = folder.client_key().expect_err("exposed");
    assert!(refused.to_string().contains("chmod 0600") && refused.exit_code() == 2, "{refused}");
    let text = found[0].to_string();
    assert!(text.contains("client.key") && text.contains("0644"), "{text}");
    assert!(text.contains("chmod 600"), "{text}");
}
