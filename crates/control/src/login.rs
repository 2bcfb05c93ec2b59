//! Logging in to Postgres: as whom, and what to do if it refuses.

use url::Url;

/// The database URL with a user in it. Where it names none, that is whoever runs this process, as
/// for every program that uses libpq; `PGUSER` comes first.
pub fn with_user(url: &str) -> String {
    if std::env::var_os("PGUSER").is_some() {
        return url.to_owned();
    }
    match sextant_daemon::os_user::name() {
        Some(user) => with_user_or(url, &user),
        None => url.to_owned(),
    }
}

fn with_user_or(text: &str, user: &str) -> String {
    let Ok(mut url) = text.parse::<Url>() else { return text.to_owned() };
    let is_named = !url.username().is_empty() || url.query_pairs().any(|(key, _)| key == "user");
    if is_named {
        return text.to_owned();
    }
    url.query_pairs_mut().append_pair("user", user);
    url.into()
}

/// What to do if Postgres refuses somebody in that way.
pub fn remedy(error: &str) -> Option<&'static str> {
    let refused = [
        (
            "eer authentication failed",
            "with peer authentication Postgres takes the OS user that runs this for the role of \
             the same name, unless pg_ident.conf maps it to others; write such a map (the page \
             Install shows one), or name the right role as `user` in the URL",
        ),
        (
            "assword authentication failed",
            "check the password in the file that holds the URL, and the role",
        ),
        (
            "no pg_hba.conf entry",
            "add a line for this database, role and address to pg_hba.conf and reload Postgres",
        ),
        (
            "permission denied to create role",
            "give the owner that right: ALTER ROLE owner CREATEROLE",
        ),
        (
            "permission denied for schema public",
            "make the role in the owner's URL the owner of the database: ALTER DATABASE name OWNER \
             TO owner",
        ),
    ];
    refused.into_iter().find(|(said, _)| error.contains(said)).map(|(_, remedy)| remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_runs_it_is_the_user_of_a_url_that_names_none() {
        for (url, completed) in [
            ("postgresql:///sextant", "postgresql:///sextant?user=ops"),
            (
                "postgresql:///sextant?host=/run/postgresql",
                "postgresql:///sextant?host=/run/postgresql&user=ops",
            ),
            ("postgresql://db.example/sextant", "postgresql://db.example/sextant?user=ops"),
        ] {
            assert_eq!(with_user_or(url, "ops"), completed);
        }
        for named in [
            "postgresql:///sextant?host=/run/postgresql&user=sextant",
            "postgresql://sextant:secret@[::1]/sextant",
            "not a URL",
        ] {
            assert_eq!(with_user_or(named, "ops"), named);
        }
    }

    #[test]
    fn a_refused_login_comes_with_its_remedy() {
        let error = "error returned from database: Peer authentication failed for user \"root\"";
        assert!(remedy(error).expect("a remedy").contains("pg_ident.conf"));
        assert_eq!(remedy("relation does not exist"), None);
    }
}
