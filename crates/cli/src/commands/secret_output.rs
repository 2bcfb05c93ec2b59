//! Where a new token goes: to standard output, or to a private file. It is shown once, so the file
//! is checked before the token is made, and a token that could not be handed over is taken back.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sextant_api::ClientError;
use sextant_daemon::private_file;

use crate::{exit::Failure, output::Output};

/// The option of every command that makes a token.
#[derive(clap::Args, Debug)]
pub struct SecretOutput {
    /// Write the token to this new file, mode 0600, instead of standard output
    #[arg(long = "output", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub path: Option<PathBuf>,
}

impl SecretOutput {
    /// Refuses a file that exists, and a folder that does not.
    pub fn check(&self) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        let refused =
            |why: &str| Failure::BadInput(format!("cannot write \"{}\": {why}", path.display()));
        if path.symlink_metadata().is_ok() {
            return Err(refused("it exists; remove it or choose another file"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if path.file_name().is_none() || !folder.unwrap_or(Path::new(".")).is_dir() {
            return Err(refused("its folder does not exist; make it first"));
        }
        Ok(())
    }

    /// Hands the token over: `made` holds it in `secret`, which the file takes out of it. What
    /// cannot be handed over is taken back with `revoke`.
    pub async fn hand_over<T: Serialize>(
        &self,
        output: &Output,
        mut made: T,
        secret: impl Fn(&mut T) -> &mut Option<String>,
        revoke: impl AsyncFnOnce() -> Result<(), ClientError>,
    ) -> Result<(), Failure> {
        let why = match secret(&mut made).clone() {
            None => "the connection failed before the new token could be shown".to_owned(),
            Some(token) => {
                let handed = match &self.path {
                    None => output.show(&made, |_| format!("{token}\n")),
                    Some(path) => write(path, &token).and_then(|()| {
                        *secret(&mut made) = None;
                        output.show(&made, |_| String::new())
                    }),
                };
                match handed {
                    Ok(()) => return Ok(()),
                    // The file holds it, so it is not lost.
                    Err(failure @ Failure::Output(_)) if self.path.is_some() => {
                        return Err(failure);
                    }
                    Err(failure) => failure.to_string(),
                }
            }
        };
        revoke().await?;
        Err(Failure::BadInput(format!("{why}; the new token is revoked, create another")))
    }
}

fn write(path: &Path, token: &str) -> Result<(), Failure> {
    private_file::write(path, format!("{token}\n").as_bytes())
        .map_err(|error| Failure::BadInput(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::output::Format;

    async fn hand_over(path: &Path, made: Option<&str>) -> (Result<(), Failure>, bool) {
        let output = SecretOutput { path: Some(path.to_owned()) };
        let mut revoked = false;
        let revoke = async || {
            revoked = true;
            Ok(())
        };
        let made = made.map(str::to_owned);
        let handed =
            output.hand_over(&Output::new(Format::Table, false), made, |made| made, revoke).await;
        (handed, revoked)
    }

    #[tokio::test]
    async fn a_token_goes_to_a_new_private_file_and_never_over_an_old_one() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("n1.token");
        let output = SecretOutput { path: Some(path.clone()) };
        output.check().expect("free");
        let (handed, revoked) = hand_over(&path, Some("sxe_x")).await;
        assert!(handed.is_ok() && !revoked);
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "sxe_x\n");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(output.check().expect_err("exists").to_string().contains("exists"));
        let nowhere = SecretOutput { path: Some(folder.path().join("no/n1.token")) };
        assert!(nowhere.check().expect_err("no folder").to_string().contains("folder"));
        assert!(SecretOutput { path: None }.check().is_ok());
    }

    #[tokio::test]
    async fn a_token_that_nobody_got_is_revoked() {
        let folder = tempfile::tempdir().expect("folder");
        let (handed, revoked) = hand_over(&folder.path().join("no/n1.token"), Some("sxe_x")).await;
        let error = handed.expect_err("no folder").to_string();
        assert!(revoked && error.contains("is revoked") && !error.contains("sxe_x"), "{error}");
        let (handed, revoked) = hand_over(&folder.path().join("n1.token"), None).await;
        assert!(revoked && handed.is_err());
    }
}
