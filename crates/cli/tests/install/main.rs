//! The page Install, as somebody follows it: its blocks run word for word, on hosts of their own.
//!
//! A block that begins with "```sh run=HOST" runs on that host. `world.sh` makes the hosts; systemd
//! and scp are the two programs that cannot work there, and have short replacements beside it.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const MOST_SECONDS: &str = "480";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// The blocks of the page that are to be run: on which host, and what.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(host) = line.strip_prefix("```sh run=") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        found.push((host.to_owned(), block.join("\n") + "\n"));
    }
    found
}

#[test]
fn whoever_follows_the_page_gets_a_platform_that_serves() {
    if !is_root() {
        // Daemons of several users need more users than a user namespace has.
        note("not run: it needs root");
        return;
    }
    let page = std::fs::read_to_string(repository().join("docs/install.md")).expect("the page");
    let folder = tempfile::tempdir().expect("folder");
    let blocks = blocks(&page);
    assert!(blocks.len() > 15, "{}", blocks.len());
    for (number, (host, block)) in blocks.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{number:02}.{host}")), block).expect("written");
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_sextant")).parent().expect("a folder");
    let output = Command::new("timeout")
        .args(["--kill-after=10", MOST_SECONDS, "unshare", "--mount", "--net", "--pid", "--uts"])
        .args(["--fork", "--kill-child", "--mount-proc", "bash"])
        .arg(repository().join("crates/cli/tests/install/world.sh"))
        .args([programs, &repository().join("dist"), folder.path()])
        .stdin(Stdio::null())
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert!(said.ends_with("== done\n"), "{said}");
}

#[test]
fn systemd_understands_the_units() {
    let units: Vec<PathBuf> = std::fs::read_dir(repository().join("dist/systemd"))
        .expect("folder")
        .map(|entry| entry.expect("entry").path())
        .collect();
    assert_eq!(units.len(), 3, "{units:?}");
    let folder = tempfile::tempdir().expect("folder");
    let mut copies = Vec::new();
    for unit in units {
        let text = std::fs::read_to_string(&unit).expect("unit");
        for needed in
            ["Type=notify\n", "User=", "WatchdogSec=", "[Install]\n", "NoNewPrivileges=yes"]
        {
            assert!(text.contains(needed), "{}: {needed}", unit.display());
        }
        // The program is not installed here, and systemd looks for it.
        let text = text.replace("=/usr/bin/sextant-", "=/bin/true sextant-");
        let copy = folder.path().join(unit.file_name().expect("a name"));
        std::fs::write(&copy, text).expect("written");
        copies.push(copy);
    }
    match Command::new("systemd-analyze").arg("verify").args(&copies).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            note("not verified: there is no systemd here");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_pages_show_the_settings_that_the_units_have() {
    let unit = std::fs::read_to_string(repository().join("dist/systemd/sextant-agent.service"));
    assert!(unit.expect("unit").contains("RestartPreventExitStatus=2"));
    let page = std::fs::read_to_string(repository().join("docs/install.md")).expect("the page");
    for file in ["control.toml", "agent.toml", "edge.toml"] {
        assert!(page.contains(&format!("/etc/sextant/{file}")), "{file}");
    }
}

fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
