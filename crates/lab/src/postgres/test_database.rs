//! One fresh database per test.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use uuid::Uuid;

use super::{PostgresOptions, Relay, SUPERUSER, ScratchPostgres, psql, quoted, url};
use crate::error::{LabError, Result};

/// The environment variable with the socket directory of the server that all tests of one run
/// share. `cargo xtask test` sets it; without it each test starts a server.
pub const SHARED: &str = "SEXTANT_TEST_POSTGRES";

/// An empty database that only one test knows. It is dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    /// Connects as the superuser, who owns the database.
    pub url: String,
    /// Connects as [`role`](Self::role).
    pub app_url: String,
    /// A login role of this test, without any privilege yet.
    pub role: String,
    name: String,
    socket_directory: PathBuf,
    /// After the database in drop order: the server it is in, if this test started one.
    server: Option<(ScratchPostgres, TempDir)>,
}

/// Makes a database for the calling test.
pub fn test_database() -> Result<TestDatabase> {
    let (socket_directory, server) = if let Some(shared) = std::env::var_os(SHARED) {
        (PathBuf::from(shared), None)
    } else {
        let directory = tempfile::Builder::new()
            .prefix("sextant-test-")
            .tempdir()
            .map_err(LabError::file("make", "a temporary directory"))?;
        let options = PostgresOptions { durable: false, ..PostgresOptions::default() };
        let server = ScratchPostgres::start(directory.path(), options)?;
        (server.socket_directory().to_owned(), Some((server, directory)))
    };
    let name = format!("test_{}", Uuid::new_v4().simple());
    let role = name.clone();
    let database = TestDatabase {
        url: url(&socket_directory, &name, SUPERUSER),
        app_url: url(&socket_directory, &name, &role),
        role,
        name,
        socket_directory,
        server,
    };
    let quoted = quoted(&database.name);
    psql(
        &administration(&database.socket_directory),
        &[
            &format!("CREATE ROLE {quoted} LOGIN"),
            // template0: nobody is ever connected to it, so tests do not block each other.
            &format!("CREATE DATABASE {quoted} TEMPLATE template0"),
        ],
    )?;
    Ok(database)
}

impl TestDatabase {
    /// A way to the server over IPv6 and TCP.
    pub fn relay(&self) -> Result<Relay> {
        Relay::start(&self.socket_directory)
    }

    /// Its name in the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connection URL for another role.
    pub fn url_as(&self, role: &str) -> String {
        url(&self.socket_directory, &self.name, role)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // A server of this test's own goes with all its databases.
        if self.server.is_none() {
            let quoted = quoted(&self.name);
            let statements = [
                &*format!("DROP DATABASE IF EXISTS {quoted} WITH (FORCE)"),
                &*format!("DROP ROLE IF EXISTS {quoted}"),
                // The one that migrating makes for a database of this name.
                &*format!("DROP ROLE IF EXISTS sextant_app_{}", self.name),
            ];
            let _ = psql(&administration(&self.socket_directory), &statements);
        }
    }
}

fn administration(socket_directory: &Path) -> String {
    url(socket_directory, "postgres", SUPERUSER)
}
