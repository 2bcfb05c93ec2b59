use std::{fs::File, io::Write, os::unix::fs::symlink};

use super::*;

async fn notices(changes: &mut mpsc::Receiver<()>, what: &str) {
    let changed = tokio::time::timeout(Duration::from_secs(10), changes.recv()).await;
    assert_eq!(changed.expect(what), Some(()));
}

#[tokio::test]
async fn writes_renames_and_swapped_links_are_noticed() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("routes.toml"), "1").expect("written");
    let (mut changes, _file) = watch(file("routes.toml")).expect("watched");

    std::fs::write(file("routes.toml"), "22").expect("written");
    notices(&mut changes, "a write").await;
    std::fs::write(file("new"), "333").expect("written");
    std::fs::rename(file("new"), file("routes.toml")).expect("renamed");
    notices(&mut changes, "a rename").await;
    std::fs::write(file("target"), "4444").expect("written");
    symlink(file("target"), file("link")).expect("linked");
    std::fs::rename(file("link"), file("routes.toml")).expect("renamed");
    notices(&mut changes, "a link").await;
    std::fs::remove_file(file("routes.toml")).expect("removed");
    notices(&mut changes, "its end").await;
}

#[tokio::test]
async fn a_writer_that_pauses_is_not_overtaken() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("routes.toml");
    std::fs::write(&path, "1").expect("written");
    let (mut changes, file) = watch(path.clone()).expect("watched");
    let mut writer = File::create(&path).expect("truncated");
    writer.write_all(b"half").expect("written");
    // Longer than it takes to look twice.
    let pause = tokio::time::timeout(POLL_INTERVAL * 3, changes.recv()).await;
    assert!(pause.is_err(), "the half was taken for the whole");
    assert!(file.is_being_written());
    writer.write_all(b" and half").expect("written");
    drop(writer);
    notices(&mut changes, "the whole").await;
    assert!(!file.is_being_written());
}

/// What has happened in the folder of `path` since it was asked last is there at once.
fn heard(file: &WatchedFile) -> Heard {
    file.hear(Duration::ZERO)
}

#[test]
fn a_file_that_is_being_written_is_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("routes.toml"), "1").expect("written");
    let watched = WatchedFile::new(file("routes.toml"));
    assert_eq!(heard(&watched), Heard::Nothing);

    // As `generate > routes.toml` does it, with something else going on beside it.
    let mut written = File::create(file("routes.toml")).expect("truncated");
    std::fs::write(file("other"), "1").expect("written");
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Other, true));
    written.write_all(b"22").expect("written");
    std::fs::rename(file("other"), file("another")).expect("renamed");
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Other, true));
    drop(written);
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Complete, false));

    std::fs::remove_file(file("routes.toml")).expect("removed");
    assert_eq!(heard(&watched), Heard::Complete, "its end");
    let mut written = File::create(file("routes.toml")).expect("created");
    written.write_all(b"333").expect("written");
    std::fs::remove_file(file("another")).expect("removed");
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Other, true));
    drop(written);
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Complete, false));
}

#[test]
fn a_file_that_is_renamed_before_its_writer_is_done_is_being_written() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("routes.toml"), "1").expect("written");
    let watched = WatchedFile::new(file("routes.toml"));
    let mut written = File::create(file("new")).expect("created");
    written.write_all(b"half").expect("written");
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Other, false));
    std::fs::rename(file("new"), file("routes.toml")).expect("renamed");
    assert!(watched.is_being_written());
    drop(written);
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Complete, false));
}

#[test]
fn a_file_that_was_given_up_half_written_holds_nobody_up() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("routes.toml"), "1").expect("written");
    let watched = WatchedFile::new(file("routes.toml"));
    // Whoever comes next may get the number of a file that is gone.
    for name in ["draft", "routes.toml"] {
        let mut written = File::create(file(name)).expect("created");
        written.write_all(b"half").expect("written");
        std::fs::remove_file(file(name)).expect("given up");
        drop(written);
        heard(&watched);
        let state = watched.take_events();
        assert!(state.written.is_empty() && !state.target_written, "{name}");
    }
    // One that another is moved over is gone, too, though its writer goes on.
    std::fs::write(file("routes.toml"), "1").expect("written");
    let mut written = File::create(file("routes.toml")).expect("truncated");
    std::fs::write(file("new"), "22").expect("written");
    std::fs::rename(file("new"), file("routes.toml")).expect("renamed");
    written.write_all(b"late").expect("written");
    assert!(!watched.is_being_written());
    drop(written);
    assert!(!watched.is_being_written());
    assert!(watched.take_events().written.is_empty());
}

#[test]
fn links_may_be_swapped_anywhere_on_the_way() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str| folder.path().join(name);
    for version in ["v1", "v2"] {
        std::fs::create_dir(file(version)).expect("folder");
        std::fs::write(file(version).join("routes.toml"), version).expect("written");
    }
    symlink("v1", file("current")).expect("linked");
    symlink("current/routes.toml", file("routes.toml")).expect("linked");
    let watched = WatchedFile::new(file("routes.toml"));
    symlink("v2", file("next")).expect("linked");
    assert_eq!(heard(&watched), Heard::Other);
    std::fs::rename(file("next"), file("current")).expect("swapped");
    assert_eq!(heard(&watched), Heard::Complete);

    // The file itself lies in a folder that nobody watches.
    let mut written = File::create(file("v2").join("routes.toml")).expect("truncated");
    written.write_all(b"half").expect("written");
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Other, true));
    drop(written);
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Complete, false));

    std::fs::remove_file(file("routes.toml")).expect("removed");
    assert_eq!(heard(&watched), Heard::Complete);
    symlink("v1/routes.toml", file("routes.toml")).expect("linked");
    assert_eq!(heard(&watched), Heard::Complete);

    // The file that a link leads to, in the same folder.
    std::fs::write(file("real.toml"), "1").expect("written");
    symlink("real.toml", file("staged")).expect("linked");
    std::fs::rename(file("staged"), file("routes.toml")).expect("swapped");
    assert_eq!(heard(&watched), Heard::Complete);
    let written = File::create(file("real.toml")).expect("truncated");
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Other, true));
    drop(written);
    assert_eq!((heard(&watched), watched.is_being_written()), (Heard::Complete, false));
}
