//! The programs of the last version that has landed, for the tests that run it beside this one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::shell::{cargo, output_of, run, say, target_directory, workspace_root};

/// Holds the commit, in full.
const PINNED: &str = ".ci/previous-version";
/// What tests run of it.
const PROGRAMS: [&str; 3] = ["sextant-control", "sextant-agent", "sextant-edge"];
/// Names, beside the programs, the commit they were built from.
const STAMP: &str = "commit";

/// Builds the daemons of the pinned commit into `target/previous/bin`, unless they are there. In a
/// shallow clone that lacks the commit it says so and builds nothing.
pub fn build() -> anyhow::Result<()> {
    let root = workspace_root()?;
    let commit = pinned(&root)?;
    let place = target_directory()?.join("previous");
    let programs = place.join("bin");
    if is_built(&programs, &commit) {
        return Ok(());
    }
    if !has_commit(&root, &commit)? {
        if is_shallow(&root)? {
            say(&format!(
                "WARNING: this clone is shallow and lacks commit {commit} of {PINNED}; the tests of \
                 two versions side by side are SKIPPED. Run `git fetch --unshallow` to have them"
            ));
            return Ok(());
        }
        bail!("commit {commit} of {PINNED} is not in this clone; run `git fetch origin {commit}`");
    }
    let source = place.join("source");
    let checkout = Checkout::new(&root, &source, &commit)?;
    // In the same target directory, and as the whole workspace is built: what both versions depend on
    // is compiled once. The programs of this version are put back by the build that follows.
    let mut build = cargo()?;
    build.current_dir(&source).env("CARGO_TARGET_DIR", target_directory()?);
    run(build.args(["build", "--workspace", "--bins"]))?;
    keep(&target_directory()?.join("debug"), &programs, &commit)?;
    checkout.remove()
}

fn pinned(root: &Path) -> anyhow::Result<String> {
    let path = root.join(PINNED);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read \"{}\"", path.display()))?;
    let commit = text.trim();
    if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("{PINNED} holds \"{commit}\"; write the full hash of the commit that landed last");
    }
    Ok(commit.to_owned())
}

fn is_built(programs: &Path, commit: &str) -> bool {
    let stamp = fs::read_to_string(programs.join(STAMP));
    stamp.is_ok_and(|stamp| stamp == commit)
        && PROGRAMS.iter().all(|name| programs.join(name).is_file())
}

fn git(root: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(root);
    command
}

fn has_commit(root: &Path, commit: &str) -> anyhow::Result<bool> {
    let mut look = git(root);
    look.args(["cat-file", "-e", &format!("{commit}^{{commit}}")]);
    Ok(look.stderr(Stdio::null()).status().context("cannot run git")?.success())
}

fn is_shallow(root: &Path) -> anyhow::Result<bool> {
    let answer = output_of(git(root).args(["rev-parse", "--is-shallow-repository"]))?;
    Ok(answer.trim_ascii() == b"true")
}

/// The pinned commit's files.
struct Checkout {
    root: PathBuf,
    source: PathBuf,
}

impl Checkout {
    fn new(root: &Path, source: &Path, commit: &str) -> anyhow::Result<Self> {
        let checkout = Self { root: root.to_owned(), source: source.to_owned() };
        checkout.remove()?;
        let mut add = git(root);
        run(add.args(["worktree", "add", "--quiet", "--detach"]).arg(source).arg(commit))?;
        Ok(checkout)
    }

    /// Also what an interrupted build has left.
    fn remove(&self) -> anyhow::Result<()> {
        crate::shell::remove_directory(&self.source)?;
        run(git(&self.root).args(["worktree", "prune"]))
    }
}

/// Copies the programs away; the stamp goes last.
fn keep(from: &Path, to: &Path, commit: &str) -> anyhow::Result<()> {
    crate::shell::remove_directory(to)?;
    fs::create_dir_all(to).with_context(|| format!("cannot make \"{}\"", to.display()))?;
    for name in PROGRAMS {
        fs::copy(from.join(name), to.join(name))
            .with_context(|| format!("cannot copy \"{}\"", from.join(name).display()))?;
    }
    fs::write(to.join(STAMP), commit)
        .with_context(|| format!("cannot write in \"{}\"", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_commit_is_a_full_hash() {
        let root = workspace_root().expect("root");
        assert_eq!(pinned(&root).expect("a commit").len(), 40);
    }

    #[test]
    fn programs_of_another_commit_or_an_interrupted_build_are_built_again() {
        let place = std::env::temp_dir().join(format!("sextant-previous-{}", std::process::id()));
        let (from, to) = (place.join("debug"), place.join("bin"));
        fs::create_dir_all(&from).expect("made");
        for name in PROGRAMS {
            fs::write(from.join(name), name).expect("written");
        }
        assert!(!is_built(&to, "one"));
        keep(&from, &to, "one").expect("kept");
        assert!(is_built(&to, "one") && !is_built(&to, "two"));
        fs::remove_file(to.join(PROGRAMS[1])).expect("removed");
        assert!(!is_built(&to, "one"));
        fs::remove_dir_all(&place).expect("removed");
    }
}
