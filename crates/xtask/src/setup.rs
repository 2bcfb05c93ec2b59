//! The programs Sextant needs on a machine.

mod services;

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context, bail};

use self::services::NoServices;
use crate::shell::{has_program, output_of, run, say};

/// What proves that a Debian package is there.
enum Proof {
    Program(&'static str),
    PostgresServer,
    /// nginx with its stream module, as Debian has it or built in.
    NginxStream,
    /// The certificates that TLS clients trust, where OpenSSL and rustls look for them.
    Certificates,
}

/// Debian packages by what they bring. A program that is there is enough, whoever installed it.
const NEEDED: [(Proof, &str); 21] = [
    (Proof::PostgresServer, "postgresql"),
    (Proof::Program("psql"), "postgresql-client"),
    (Proof::Program("wireguard-go"), "wireguard-go"),
    (Proof::Program("wg"), "wireguard-tools"),
    (Proof::Program("nft"), "nftables"),
    (Proof::Program("ip"), "iproute2"),
    (Proof::Program("ping"), "iputils-ping"),
    (Proof::Program("unshare"), "util-linux"),
    (Proof::Program("nsenter"), "util-linux"),
    (Proof::Program("setsid"), "util-linux"),
    (Proof::Program("setpriv"), "util-linux"),
    (Proof::Program("taskset"), "util-linux"),
    (Proof::Program("chrt"), "util-linux"),
    (Proof::Program("mount"), "mount"),
    (Proof::Program("haproxy"), "haproxy"),
    (Proof::Program("nginx"), "nginx"),
    (Proof::NginxStream, "libnginx-mod-stream"),
    (Proof::Program("openssl"), "openssl"),
    (Proof::Program("faketime"), "faketime"),
    (Proof::Program("curl"), "curl"),
    (Proof::Certificates, "ca-certificates"),
];

/// Packages that bring services, which only tests and benchmarks need as programs.
const WITH_SERVICES: [&str; 2] = ["haproxy", "nginx"];

const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const CREATE_CLUSTER: &str = "/etc/postgresql-common/createcluster.conf";

impl Proof {
    fn holds(&self) -> bool {
        match self {
            Self::Program(name) => has_program(name),
            Self::PostgresServer => has_program("postgres") || packaged_postgres(),
            Self::NginxStream => Path::new(NGINX_STREAM).exists() || stream_is_built_in(),
            Self::Certificates => {
                std::env::var_os("SSL_CERT_FILE").is_some_and(|path| Path::new(&path).exists())
                    || Path::new(CERTIFICATES).exists()
            }
        }
    }
}

/// Checks that everything is there. As root on Debian it installs what is missing.
pub fn setup() -> anyhow::Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.iter().copied().collect::<Vec<_>>().join(" ");
    if !Path::new("/etc/debian_version").exists() {
        bail!("these are missing, by the names of their Debian packages: {list}; install them");
    }
    if !is_root()? {
        bail!(
            "these Debian packages are missing: {list}; run `cargo xtask setup` as root, \
             or `sudo apt-get install {list}`"
        );
    }
    say(&format!("installing {list}"));
    install(&missing)?;
    let still = self::missing();
    if !still.is_empty() {
        bail!("installed, and yet missing: {still:?}; look at the output of apt-get above");
    }
    Ok(())
}

/// Installs Debian packages that only one command needs. Needs root.
pub fn install_packages(packages: &[&str]) -> anyhow::Result<()> {
    if !Path::new("/etc/debian_version").exists() || !is_root()? {
        bail!("these Debian packages are missing: {}; install them", packages.join(" "));
    }
    install(&packages.iter().copied().collect())
}

fn missing() -> BTreeSet<&'static str> {
    NEEDED.iter().filter(|(proof, _)| !proof.holds()).map(|(_, package)| *package).collect()
}

fn install(packages: &BTreeSet<&str>) -> anyhow::Result<()> {
    run(apt_get().arg("update"))?;
    let install = |packages: &[&str]| {
        let mut command = apt_get();
        run(command.args(["install", "--yes", "--no-install-recommends"]).args(packages))
    };
    let packages: Vec<&str> = packages.iter().copied().collect();
    let services: Vec<&str> =
        WITH_SERVICES.into_iter().filter(|name| packages.contains(name)).collect();
    let _no_services = if services.is_empty() { None } else { Some(NoServices::begin(services)?) };
    if !packages.contains(&"postgresql") {
        return install(&packages);
    }
    // The server's package would start a cluster for the whole machine. Its common part is
    // installed first, told not to, and told again what it said before.
    install(&["postgresql-common"])?;
    let before = std::fs::read_to_string(CREATE_CLUSTER)
        .with_context(|| format!("cannot read \"{CREATE_CLUSTER}\""))?;
    write_cluster_settings(&without_main_cluster(&before))?;
    let installed = install(&packages);
    write_cluster_settings(&before)?;
    installed
}

fn write_cluster_settings(text: &str) -> anyhow::Result<()> {
    std::fs::write(CREATE_CLUSTER, text)
        .with_context(|| format!("cannot write \"{CREATE_CLUSTER}\""))
}

fn without_main_cluster(settings: &str) -> String {
    let kept =
        settings.lines().filter(|line| !line.trim_start().starts_with("create_main_cluster"));
    kept.chain(["create_main_cluster = false"]).flat_map(|line| [line, "\n"]).collect()
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// `nginx -V` prints how it was built, on stderr.
fn stream_is_built_in() -> bool {
    let Ok(output) = Command::new("nginx").arg("-V").output() else { return false };
    let built = String::from_utf8_lossy(&output.stderr);
    built.split_whitespace().any(|option| option == "--with-stream")
}

fn packaged_postgres() -> bool {
    std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .any(|version| version.path().join("bin/postgres").is_file())
}

fn is_root() -> anyhow::Result<bool> {
    Ok(output_of(Command::new("id").arg("-u"))?.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_main_cluster_is_switched_off() {
        let before = "# a comment\ncreate_main_cluster = true\ndata_directory = '/x'\n";
        let after = "# a comment\ndata_directory = '/x'\ncreate_main_cluster = false\n";
        assert_eq!(without_main_cluster(before), after);
        assert_eq!(without_main_cluster(""), "create_main_cluster = false\n");
    }
}
