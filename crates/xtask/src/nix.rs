//! The flake, checked on machines that have neither Nix nor nixpkgs.
//!
//! Nix is unpacked from the packages of Debian's next release under the target directory and
//! installs nothing. A stub stands in for nixpkgs (`checks/stub`): this shows that the flake's own
//! expressions evaluate, that flake and lock agree and that the files are formatted. What only
//! nixpkgs can tell, that packages build and upstream options exist, `nix flake check` tells.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{
    setup::install_packages,
    shell::{has_program, output_of, run, say, target_directory, workspace_root},
    tool::Tool,
};

/// The release whose Nix is unpacked; Debian 12's own is too old for flakes of today.
const SUITE: &str = "trixie";
const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const FORMATTER: Tool =
    Tool { package: "nixfmt_rs", version: "0.5.3", program: "nixfmt", arguments: &[] };
const DEAD_CODE: Tool =
    Tool { package: "deadnix", version: "1.3.1", program: "deadnix", arguments: &[] };

/// Checks syntax, format, unused code, the lock and the outputs of the flake.
pub fn nix() -> anyhow::Result<()> {
    let root = workspace_root()?;
    let files = tracked_nix_files(&root)?;
    run(Command::new(FORMATTER.installed()?).arg("--check").args(&files).current_dir(&root))?;
    run(Command::new(DEAD_CODE.installed()?).arg("--fail").args(&files).current_dir(&root))?;
    let nix = Nix::find()?;
    // Fails where the lock lacks an input or has one more.
    nix.run(&["flake", "metadata", ".", "--no-update-lock-file"])?;
    let stub = ["--override-input", "nixpkgs", "path:./checks/stub", "--no-write-lock-file"];
    nix.run(&[["flake", "check", ".", "--no-build", "--all-systems"].as_slice(), &stub].concat())?;
    nix.run(&[["flake", "show", ".", "--all-systems"].as_slice(), &stub].concat())
}

/// The Nix files that git knows, which are those that the flake sees.
fn tracked_nix_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let listed = output_of(Command::new("git").args(["ls-files", "*.nix"]).current_dir(root))?;
    Ok(String::from_utf8(listed)?.lines().map(str::to_owned).collect())
}

/// A Nix and a store of its own, so that nothing outside the target directory changes.
struct Nix {
    program: Vec<PathBuf>,
    store: PathBuf,
}

impl Nix {
    fn find() -> anyhow::Result<Self> {
        let target = target_directory()?.join("nix");
        let store = target.join("store");
        if has_program("nix") {
            return Ok(Self { program: vec!["nix".into()], store });
        }
        let unpacked = target.join(SUITE);
        if !unpacked.join("usr/bin/nix").exists() {
            unpack(&unpacked)?;
        }
        // Its libraries are newer than the machine's, so it runs by its own loader.
        let program = vec![
            unpacked.join("usr/lib64/ld-linux-x86-64.so.2"),
            "--library-path".into(),
            unpacked.join("usr/lib/x86_64-linux-gnu"),
            unpacked.join("usr/bin/nix"),
        ];
        Ok(Self { program, store })
    }

    fn run(&self, arguments: &[impl AsRef<OsStr>]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).arg("--store").arg(&self.store);
        command.args(["--offline", "--extra-experimental-features", "nix-command flakes"]);
        run(command.args(arguments).current_dir(workspace_root()?).stdout(Stdio::null()))
    }
}

/// Unpacks Nix from Debian's packages, by the mirror that this machine's apt uses.
fn unpack(directory: &Path) -> anyhow::Result<()> {
    if !cfg!(target_arch = "x86_64") || !Path::new(SOURCES).exists() {
        bail!("there is no program \"nix\"; install Nix 2.18 or newer");
    }
    if !has_program("mmdebstrap") {
        install_packages(&["mmdebstrap"])?;
    }
    let sources =
        std::fs::read_to_string(SOURCES).with_context(|| format!("cannot read \"{SOURCES}\""))?;
    let mirror = sources
        .lines()
        .find_map(|line| line.strip_prefix("URIs:"))
        .and_then(|uris| uris.split_whitespace().next())
        .with_context(|| format!("\"{SOURCES}\" names no mirror (\"URIs:\")"))?;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make \"{}\"", directory.display()))?;
    say(&format!("unpacking Nix of Debian {SUITE}"));
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=extract", "--include=nix-bin"]);
    run(command.arg(format!("--keyring={KEYRING}")).arg(SUITE).arg(directory).arg(mirror))
}
