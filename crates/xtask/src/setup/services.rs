//! Installing packages without running the services they bring.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;

use crate::shell::{has_program, say};

/// What Debian's packages ask before they start a service; see invoke-rc.d(8).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// 101 is "action forbidden by policy".
const FORBID: &str = "#!/bin/sh\nexit 101\n";

/// While this lives, packages that are installed start nothing. Afterwards their services are not
/// started at boot either, and the machine's own policy, if it has one, is back.
#[derive(Debug)]
pub struct NoServices {
    policy: PathBuf,
    /// Where the machine's own policy is meanwhile.
    own: Option<PathBuf>,
    services: Vec<&'static str>,
}

impl NoServices {
    /// Forbids to start anything. `services` are those that the packages will bring.
    pub fn begin(services: Vec<&'static str>) -> anyhow::Result<Self> {
        Self::begin_at(Path::new(POLICY), services)
    }

    fn begin_at(policy: &Path, services: Vec<&'static str>) -> anyhow::Result<Self> {
        let mut this = Self { policy: policy.to_owned(), own: None, services };
        if policy.symlink_metadata().is_ok() {
            let own = policy.with_extension("d.before-sextant");
            fs::rename(policy, &own)
                .with_context(|| format!("cannot move \"{}\" away", policy.display()))?;
            this.own = Some(own);
        }
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o755)
            .open(policy)
            .and_then(|mut file| file.write_all(FORBID.as_bytes()))
            .with_context(|| format!("cannot write \"{}\"", policy.display()))?;
        Ok(this)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        for service in self.services.iter().filter(|_| has_program("systemctl")) {
            // Edits links; it needs no systemd that runs.
            let mut disable = Command::new("systemctl");
            let _ = disable.args(["--quiet", "disable", service]).stderr(Stdio::null()).status();
        }
        let restored = match &self.own {
            Some(own) => fs::rename(own, &self.policy),
            None => fs::remove_file(&self.policy),
        };
        if let Err(error) = restored {
            let policy = self.policy.display();
            say(&format!("cannot restore \"{policy}\": {error}; packages will start no services"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbids(policy: &Path) -> bool {
        Command::new(policy).args(["nginx", "start"]).status().expect("run").code() == Some(101)
    }

    #[test]
    fn a_machine_without_a_policy_has_none_afterwards() {
        let place = tempfile::tempdir().expect("make");
        let policy = place.path().join("policy-rc.d");
        let guard = NoServices::begin_at(&policy, Vec::new()).expect("forbid");
        assert!(forbids(&policy));
        drop(guard);
        assert_eq!(fs::read_dir(place.path()).expect("list").count(), 0);
    }

    #[test]
    fn a_machine_gets_its_own_policy_back_also_if_it_is_a_link() {
        let place = tempfile::tempdir().expect("make");
        let policy = place.path().join("policy-rc.d");
        std::os::unix::fs::symlink("elsewhere", &policy).expect("link");
        let guard = NoServices::begin_at(&policy, Vec::new()).expect("forbid");
        assert!(forbids(&policy));
        drop(guard);
        assert_eq!(fs::read_link(&policy).expect("a link"), Path::new("elsewhere"));
        assert_eq!(fs::read_dir(place.path()).expect("list").count(), 1);
    }
}
