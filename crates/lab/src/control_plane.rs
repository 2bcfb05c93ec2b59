//! The control plane of a lab: database, CA, replicas.

use std::{
    ffi::OsString,
    net::{Ipv6Addr, TcpListener},
    ops::ControlFlow,
    process::Command,
    time::Duration,
};

use url::Url;

use crate::{
    command::{run, tail},
    description::{ReplicaDescription, ReplicaPids},
    directory::write_config,
    error::{LabError, Result},
    lab::Lab,
    operator::Operator,
    postgres::{self, PostgresOptions, SUPERUSER, ScratchPostgres},
    process::{Daemon, MARK},
    underlay,
    wait::until_saying,
};

/// The database, and the role as which the replicas use it.
const DATABASE: &str = "sextant";
/// Hostnames within it need no proof. There is no DNS in a lab that could prove others.
pub const PLATFORM_DOMAIN: &str = "lab.test";
/// Scenarios have no connections that last longer.
const WORKLOAD_DRAIN_SECONDS: u32 = 5;
/// Where replicas listen on the underlay.
const UNDERLAY_PORT: u16 = 7443;
/// From which ports the kernel takes those of outgoing connections.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Replicas do not listen below it.
const LOWEST_PORT: u16 = 10_000;
const MOST_TRIES: u16 = 50;
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long a replica may say by itself what it lacks while there is no database.
const NO_DATABASE_LIMIT: Duration = Duration::from_secs(3);

impl Lab {
    /// Starts Postgres, with the data it had before if there are any.
    pub fn start_postgres(&mut self) -> Result<()> {
        let options = PostgresOptions {
            commit_times: true,
            outlive: true,
            lab: Some(self.description.lab_id.clone()),
            log: Some(self.directory.log("postgres")),
            ..PostgresOptions::default()
        };
        let server = ScratchPostgres::start(&self.directory.postgres(), options)?;
        self.description.postgres_pid = Some(server.pid());
        self.description.postgres_url = server.url(DATABASE, SUPERUSER);
        self.save()
    }

    /// Makes the role and the database of the control plane.
    pub fn create_database(&self) -> Result<()> {
        let administration = self.database_url("postgres", SUPERUSER)?;
        let database = postgres::quoted(DATABASE);
        postgres::psql(
            &administration,
            &[&format!("CREATE ROLE {database} LOGIN"), &format!("CREATE DATABASE {database}")],
        )
    }

    /// Makes a replica's host and configuration. It does not run yet.
    pub fn add_replica(&mut self) -> Result<String> {
        let index = u16::try_from(self.description.replicas.len() + 1).unwrap_or(u16::MAX);
        let name = format!("c{index}");
        let address = underlay::replica_address(&self.description.lab_id, index);
        let host = self.add_host(&name, address)?;
        self.write_control_config(&name, address)?;
        let listener = bind_anywhere()?;
        let port = listener.local_addr().map_err(LabError::file("look at", "a socket"))?.port();
        self.description.replicas.push(ReplicaDescription {
            name: name.clone(),
            netns: host.netns(&self.description.lab_id),
            underlay: address,
            api_url: api_url(Ipv6Addr::LOCALHOST, port)?,
            pids: ReplicaPids { holder: host.holder, control: None },
        });
        let urls = self.description.replicas.iter().map(|replica| replica.api_url.clone());
        self.description.api_urls = urls.collect();
        self.save()?;
        self.reserved.insert(name.clone(), listener);
        Ok(name)
    }

    /// Lets the control plane make its schema, its CA and the first administrator's token.
    pub fn initialise_control_plane(&self) -> Result<()> {
        let Some(first) = self.description.replicas.first() else { return Ok(()) };
        let mut init = Command::new(self.programs.control()?);
        init.args(["init", "--config"])
            .arg(self.control_config(&first.name))
            .args(["--owner-url", &self.description.postgres_url, "--admin-token-file"])
            .arg(&self.description.admin_token_file)
            .env(MARK, self.description.lab_id.as_str());
        run(&mut init).map(drop)
    }

    /// Makes every projection anew from the log, while the replicas serve.
    pub fn rebuild_projections(&self) -> Result<()> {
        let Some(first) = self.description.replicas.first() else { return Ok(()) };
        let mut rebuild = Command::new(self.programs.control()?);
        rebuild.args(["rebuild", "--config"]).arg(self.control_config(&first.name));
        run(rebuild.env(MARK, self.description.lab_id.as_str())).map(drop)
    }

    /// Starts a replica and waits until it can serve.
    pub fn start_replica(&mut self, name: &str) -> Result<()> {
        let (index, pid) = self.start_replica_by(name, &[])?;
        self.await_replica(index, pid)
    }

    /// Starts a replica with these words before its command line. Returns its index and pid.
    pub fn start_replica_by(&mut self, name: &str, words: &[&str]) -> Result<(usize, u32)> {
        let host = self.description.host(name)?;
        let config = self.control_config(name);
        let program = self.programs.control()?;
        let index = self.replica_index(name)?;
        let replica = &self.description.replicas[index];
        let url = replica.api_url.clone();
        let listener = match self.reserved.remove(name) {
            Some(listener) => listener,
            None => bind(url.port().unwrap_or_default())?,
        };
        let mut command = host.entry();
        command.extend(words.iter().map(OsString::from));
        command.extend(self.clock_words(name)?);
        command.extend([program.into(), "run".into(), "--config".into(), OsString::from(config)]);
        let log = self.directory.log(name);
        let daemon = Daemon { command, log: Some(&log), listener: Some(listener.into()) };
        let pid = daemon.start(&self.description.lab_id)?;
        self.description.replicas[index].pids.control = Some(pid);
        self.save()?;
        Ok((index, pid))
    }

    /// Waits until every replica that is meant to run can serve.
    pub fn await_replicas(&self) -> Result<()> {
        for (index, replica) in self.description.replicas.iter().enumerate() {
            if let Some(pid) = replica.pids.control {
                self.await_replica(index, pid)?;
            }
        }
        Ok(())
    }

    fn await_replica(&self, index: usize, pid: u32) -> Result<()> {
        let lab = &self.description;
        let replica = &lab.replicas[index];
        let what = format!("replica \"{}\"", replica.name);
        let log = self.directory.log(&replica.name);
        let url = replica.api_url.clone();
        let operator = Operator::new(vec![url], &lab.ca_file, &lab.admin_token_file)?;
        let has_database = lab.postgres_pid.is_some_and(|pid| lab.lab_id.marks(pid));
        let limit = if has_database { READY_LIMIT } else { NO_DATABASE_LIMIT };
        let ready = format!("{what} to be ready");
        let outcome = until_saying(&ready, limit, &self.interrupt, &self.progress, || {
            if !lab.lab_id.marks(pid) {
                let (what, log) = (what.clone(), log.clone());
                return Err(LabError::Died { what, tail: tail(&log, 15), log });
            }
            Ok(match operator.ready() {
                Ok(()) => ControlFlow::Break(()),
                Err(error) => ControlFlow::Continue(error.to_string()),
            })
        });
        outcome.map_err(|error| match error {
            LabError::Timeout { limit, state, .. } => {
                let start = self.directory.hint("start postgres");
                let remedy = format!("{state}; Postgres is not running, {start} starts it");
                let state = if has_database { state } else { remedy };
                LabError::NotReady { what: what.clone(), limit, state }
            }
            other => other,
        })
    }

    /// The replicas as nodes reach them, over the underlay.
    pub fn underlay_api_urls(&self) -> Result<Vec<Url>> {
        let replicas = self.description.replicas.iter();
        replicas.map(|replica| api_url(replica.underlay, UNDERLAY_PORT)).collect()
    }

    fn control_config(&self, name: &str) -> std::path::PathBuf {
        self.directory.control().join(format!("{name}.toml"))
    }

    fn write_control_config(&self, name: &str, address: Ipv6Addr) -> Result<()> {
        let url = self.database_url(DATABASE, DATABASE)?;
        let key = self.description.ca_file.with_extension("key");
        let config = serde_json::json!({
            "database": { "url": url },
            "listen": { "addresses": [format!("[{address}]:{UNDERLAY_PORT}")] },
            "hostnames": { "platform_domain": PLATFORM_DOMAIN },
            "workloads": { "drain_seconds": WORKLOAD_DRAIN_SECONDS },
            "tls": {
                "ca_certificate_file": self.description.ca_file,
                "ca_key_file": key,
                "names": ["::1", address],
            },
        });
        write_config(&self.control_config(name), &config)
    }

    /// The socket's directory does not change when Postgres is started again.
    fn database_url(&self, database: &str, user: &str) -> Result<String> {
        let known = Url::parse(&self.description.postgres_url);
        let host = known.ok().and_then(|url| {
            url.query_pairs().find(|(key, _)| key == "host").map(|(_, host)| host.into_owned())
        });
        let host = host.ok_or_else(|| LabError::WrongState {
            what: "Postgres".to_owned(),
            state: format!("not running; run {}", self.directory.hint("start postgres")),
        })?;
        Ok(postgres::url(host.as_ref(), database, user))
    }
}

/// A listening socket at a port that the kernel gives to nobody: while a replica is dead, an
/// outgoing connection could be given its port otherwise, and the replica could not start again.
fn bind_anywhere() -> Result<TcpListener> {
    let range = std::fs::read_to_string(PORT_RANGE).unwrap_or_default();
    let first_given = range.split_whitespace().next().and_then(|text| text.parse().ok());
    let ports = LOWEST_PORT..first_given.unwrap_or(LOWEST_PORT);
    let tries = if ports.is_empty() { 0 } else { MOST_TRIES };
    let mut found = (0..tries).map(|_| bind(rand::random_range(ports.clone())));
    found.find(Result::is_ok).unwrap_or_else(|| bind(0))
}

/// A listening socket in the machine's own namespace.
fn bind(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::LOCALHOST, port))
        .map_err(LabError::file("listen on", format!("[::1]:{port}")))
}

fn api_url(address: Ipv6Addr, port: u16) -> Result<Url> {
    let text = format!("https://[{address}]:{port}");
    Url::parse(&text).map_err(|error| LabError::ControlPlane {
        action: format!("use the URL \"{text}\""),
        reason: error.to_string(),
    })
}
