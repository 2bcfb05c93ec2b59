//! Tells the programs which commit they are built from.
//!
//! `SEXTANT_COMMIT` says it where there is no git, as in a package's build. A debug build asks git
//! when this crate is built and not after every commit, which would build every daemon anew.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=SEXTANT_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let is_debug = std::env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    let given = std::env::var("SEXTANT_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = match (given, git(&["rev-parse", "--short=12", "HEAD"])) {
        (Some(given), _) => given,
        (None, Some(head)) if is_debug => format!("{head} or later, debug build"),
        (None, Some(head)) => {
            for file in ["HEAD", "logs/HEAD"] {
                if let Some(path) = git(&["rev-parse", "--git-path", file]) {
                    println!("cargo::rerun-if-changed={path}");
                }
            }
            head
        }
        (None, None) => "unknown commit".to_owned(),
    };
    println!("cargo::rustc-env=SEXTANT_BUILT_FROM={commit}");
}

/// What git answers; nothing without git or a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
