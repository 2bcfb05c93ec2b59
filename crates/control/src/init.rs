//! `sextant-control init`: schema, CA and the first API token. Running it again changes nothing
//! that is there.

use std::path::Path;

use anyhow::{Context, bail};
use sextant_daemon::{
    clock::{Clock, SystemClock},
    private_file,
};
use sextant_model::{DnsLabel, secret::ApiToken};
use sextant_store::{LoginStanding, Store};

use crate::{admin_token, ca::Ca, config::Config};

/// Whether the daemon may log in as the owner of the tables, who can change events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerLogin {
    /// No: events are kept from the daemon by privilege.
    Refused,
    /// Yes, with a warning.
    Allowed,
}

/// Prepares the platform; returns what was done, a line each.
pub async fn init(
    config: &Config,
    owner_url: &str,
    admin_token_file: &Path,
) -> anyhow::Result<Vec<String>> {
    init_with(config, owner_url, admin_token_file, OwnerLogin::Refused).await
}

/// The same, where the daemon may log in as the owner if `owner_login` says so.
pub async fn init_with(
    config: &Config,
    owner_url: &str,
    admin_token_file: &Path,
    owner_login: OwnerLogin,
) -> anyhow::Result<Vec<String>> {
    let mut done = Vec::new();
    let url = config.database.resolve()?;
    let Some(login) = login_role(&url) else {
        bail!("the database URL names no role to log in as; write it before the host: USER@")
    };
    let unprepared = "the database could not be prepared; check --owner-url and that Postgres runs";
    let standing = Store::login_standing(owner_url, &login).await.context(unprepared)?;
    done.extend(check_login(&login, standing, owner_login)?);
    let role = Store::migrate(owner_url, Some(&login)).await.context(unprepared)?;
    done.push(format!(
        "the database schema is up to date, and only members of the role \"{}\" may connect",
        role.name
    ));
    for member in role.other_members {
        done.push(format!(
            "warning: \"{member}\" is a member of \"{0}\" too and may do what the daemon does; if \
             it should not: REVOKE {0} FROM {member}",
            role.name
        ));
    }

    let store = Store::connect(&config.database.connect_options()?)?;
    let ca = prepare_ca(config, &store).await?;
    done.push(format!("the CA has the fingerprint {}", ca.fingerprint()));
    let certificate = &config.tls.ca_certificate_file;
    publish(certificate)?;
    done.push(format!(
        "its certificate \"{}\" is public: operators need a copy (--ca-file)",
        certificate.display()
    ));

    if admin_token_file.exists() {
        let shown = admin_token_file.display();
        if private_file::read_secret(admin_token_file)?.trim().parse::<ApiToken>().is_err() {
            bail!(
                "\"{shown}\" is there already and holds no API token; remove it and run this again"
            );
        }
        done.push(format!("\"{shown}\" is there already and stays"));
        return Ok(done);
    }
    if admin_token::exists(&store).await? {
        done.push(
            "the platform has API tokens, so no first one was made; for one that is lost there is \
             `sextant-control admin-token`"
                .into(),
        );
    } else {
        let name = DnsLabel::new("first-admin")?;
        done.push(admin_token::hand_out(&store, name, admin_token_file).await?);
    }
    store.close().await;
    Ok(done)
}

/// A line that warns of an owner who logs in, if that is allowed.
fn check_login(
    login: &str,
    standing: LoginStanding,
    owner_login: OwnerLogin,
) -> anyhow::Result<Option<String>> {
    match (standing, owner_login) {
        (LoginStanding::Missing, _) => bail!(
            "the role \"{login}\" that the database URL logs in as does not exist; make it: CREATE \
             ROLE {login} LOGIN"
        ),
        (LoginStanding::Owner, OwnerLogin::Refused) => bail!(
            "the database URL logs in as \"{login}\", which owns the tables or is a superuser and \
             could change events; log in as a role of its own, or give --allow-owner-login"
        ),
        (LoginStanding::Owner, OwnerLogin::Allowed) => Ok(Some(format!(
            "warning: the daemon logs in as \"{login}\", which could change events"
        ))),
        (LoginStanding::Ordinary, _) => Ok(None),
    }
}

/// The CA in the files, made if the platform has none; never a second one for a platform.
async fn prepare_ca(config: &Config, store: &Store) -> anyhow::Result<Ca> {
    let (certificate, key) = (&config.tls.ca_certificate_file, &config.tls.ca_key_file);
    let recorded = store.recorded_ca().await?;
    if let Some(recorded) = &recorded
        && !certificate.exists()
    {
        bail!(
            "this platform has a CA (fingerprint {recorded}), but \"{}\" does not exist; restore \
             the CA's files or correct tls.ca_certificate_file",
            certificate.display()
        );
    }
    let ca = Ca::load_or_create(certificate, key, SystemClock.now())?;
    check_ca(&ca, recorded.as_deref())?;
    store.record_ca(ca.fingerprint().as_str()).await?;
    Ok(ca)
}

/// Whether `ca` is the one the platform was made with.
pub fn check_ca(ca: &Ca, recorded: Option<&str>) -> anyhow::Result<()> {
    let given = ca.fingerprint();
    match recorded {
        Some(recorded) if recorded != given.as_str() => bail!(
            "the CA's files hold another CA than this platform's: fingerprint {given} instead of \
             {recorded}; nodes would not trust it, restore the right files"
        ),
        _ => Ok(()),
    }
}

/// Lets everybody read the CA's certificate, as far as its folder lets them.
fn publish(certificate: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(certificate, std::fs::Permissions::from_mode(0o644))
        .with_context(|| format!("the mode of \"{}\" cannot be set", certificate.display()))
}

/// The role a database URL logs in as, if it names one.
fn login_role(url: &str) -> Option<String> {
    let parsed: url::Url = url.parse().ok()?;
    let asked =
        parsed.query_pairs().find(|(key, _)| key == "user").map(|(_, user)| user.into_owned());
    asked.or_else(|| Some(parsed.username().to_owned())).filter(|user| !user.is_empty())
}

#[cfg(test)]
mod tests {
    use super::login_role;

    #[test]
    fn the_login_role_stands_before_the_host_or_in_the_query() {
        assert_eq!(login_role("postgresql://u:p@h/db").as_deref(), Some("u"));
        assert_eq!(login_role("postgresql:///db?host=%2Frun&user=u").as_deref(), Some("u"));
        assert_eq!(login_role("postgresql:///db"), None);
    }
}
