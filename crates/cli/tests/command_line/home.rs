//! A user with a token and a CA, and the program in front of them.

use std::{
    net::{Ipv6Addr, TcpListener},
    path::Path,
    process::{Command, Output, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sextant_model::{
    ApiTokenId,
    secret::{ApiToken, Secret},
};
use tempfile::TempDir;

/// A folder with a token and a CA in it, for one user.
pub struct Home {
    pub folder: TempDir,
    pub ca: CertifiedIssuer<'static, KeyPair>,
}

impl Home {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let id = ApiTokenId(uuid::Uuid::from_u128(7));
        let token = ApiToken { id, secret: Secret::new([7; 32]) };
        sextant_daemon::private_file::write(
            &folder.path().join("token"),
            token.reveal().as_bytes(),
        )
        .expect("token");
        let ca = ca();
        std::fs::write(folder.path().join("ca.crt"), ca.pem()).expect("CA");
        Self { folder, ca }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The program, with nothing of the environment the tests run in.
    pub fn sextant(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sextant"));
        command.args(arguments).env_clear().env("XDG_CONFIG_HOME", self.path());
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.sextant(arguments).output().expect("started"))
    }

    /// Runs with the token and the CA of this home, against `url`.
    pub fn ask(&self, url: &str, arguments: &[&str]) -> Ended {
        let connection = ["--api-url", url, "--token-file", "token", "--ca-file", "ca.crt"];
        self.run(&[arguments, &connection].concat())
    }
}

/// What came of a command.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// A CA of its own.
pub fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("key");
    CertifiedIssuer::self_signed(params, key).expect("CA")
}

/// A port that nobody else has, and its URL.
pub fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("bound");
    let url = format!("https://{}", listener.local_addr().expect("address"));
    (listener, url)
}
