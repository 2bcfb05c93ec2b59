//! Who may use a platform's database: its own login role, and nobody else on the same server.

use sextant_lab::postgres::{psql, query};
use sextant_store::{LoginStanding, Store, StoreError};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::Fixture;

/// A login role that nobody granted anything.
fn stranger(fixture: &Fixture) -> String {
    let name = format!("stranger_{}", Uuid::new_v4().simple());
    psql(&fixture.database.url, &[&format!("CREATE ROLE {name} LOGIN")]).expect("role");
    name
}

/// The URL of another database on the same server.
fn url_of(fixture: &Fixture, database: &str, role: &str) -> String {
    let url = fixture.database.url_as(role);
    url.replacen(&format!("/{}?", fixture.database.role), &format!("/{database}?"), 1)
}

async fn refusal(url: &str) -> String {
    match PgConnection::connect(url).await {
        Ok(_) => panic!("connected"),
        Err(error) => error.to_string(),
    }
}

/// Every privilege in this database, as text.
fn privileges(fixture: &Fixture) -> Vec<String> {
    query(
        &fixture.database.url,
        "SELECT relname::text, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
         UNION ALL SELECT oid::regprocedure::text, proacl::text FROM pg_proc
                   WHERE pronamespace = 'public'::regnamespace
         UNION ALL SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname = 'public'
         UNION ALL SELECT datname, datacl::text FROM pg_database WHERE datname = current_database()
         ORDER BY 1, 2",
    )
    .expect("privileges")
}

#[tokio::test]
async fn the_daemon_of_another_platform_on_the_server_neither_connects_nor_reads() {
    let fixture = Fixture::new().await;
    let other = stranger(&fixture);
    psql(&fixture.database.url, &[&format!("CREATE DATABASE {other} TEMPLATE template0")])
        .expect("database");
    let owner = url_of(&fixture, &other, "postgres");
    let prepared = Store::migrate(&owner, Some(&other)).await.expect("migrated");
    assert_eq!(prepared.name, format!("sextant_app_{other}"));
    assert!(prepared.other_members.is_empty(), "{prepared:?}");
    let at_home = PgConnection::connect(&url_of(&fixture, &other, &other)).await.expect("at home");
    at_home.close().await.expect("closed");

    let error = refusal(&fixture.database.url_as(&other)).await;
    assert!(error.contains("permission denied for database"), "{error}");
    // Not even where somebody lets it connect by mistake.
    let mistake = format!("GRANT CONNECT ON DATABASE {} TO {other}", fixture.database.role);
    psql(&fixture.database.url, &[&mistake]).expect("granted");
    let mut guest = PgConnection::connect(&fixture.database.url_as(&other)).await.expect("guest");
    for statement in [
        "SELECT * FROM public.events",
        "SELECT * FROM public.api_tokens",
        "SELECT * FROM public.event_types",
        "SELECT public.event_horizon()",
        "SELECT public.event_writers()",
        "CREATE TEMPORARY TABLE mine (n integer)",
    ] {
        let error = sqlx::raw_sql(statement).execute(&mut guest).await.expect_err(statement);
        assert!(error.to_string().contains("permission denied"), "{statement}: {error}");
    }
    guest.close().await.expect("closed");
    let drop_all =
        [format!("DROP DATABASE {other} WITH (FORCE)"), format!("DROP OWNED BY {other}")];
    psql(&fixture.database.url, &drop_all.each_ref().map(String::as_str)).expect("dropped");
}

#[tokio::test]
async fn a_role_without_grants_cannot_connect_and_so_takes_no_lock() {
    let fixture = Fixture::new().await;
    let error = refusal(&fixture.database.url_as(&stranger(&fixture))).await;
    assert!(error.contains("permission denied for database"), "{error}");
}

#[tokio::test]
async fn nothing_is_readable_or_executable_by_everybody() {
    let fixture = Fixture::new().await;
    let open = query(
        &fixture.database.url,
        "SELECT p.oid::regprocedure::text FROM pg_proc p
         WHERE p.pronamespace = 'public'::regnamespace
           AND has_function_privilege('public', p.oid, 'EXECUTE')
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
         UNION ALL
         SELECT c.relname::text FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = 0
         UNION ALL
         SELECT 'schema' WHERE has_schema_privilege('public', 'public', 'USAGE')",
    )
    .expect("query");
    assert!(open.is_empty(), "{open:?}");
    // Nor what a later migration makes.
    let later = "CREATE FUNCTION later() RETURNS integer LANGUAGE sql AS 'SELECT 1'";
    psql(&fixture.database.url, &[later]).expect("made");
    let open = "SELECT has_function_privilege('public', 'later()', 'EXECUTE')";
    assert_eq!(query(&fixture.database.url, open).expect("query"), ["f"]);
}

#[tokio::test]
async fn preparing_again_changes_nothing_and_moves_what_later_migrations_grant() {
    let fixture = Fixture::new().await;
    let before = privileges(&fixture);
    assert!(before.iter().any(|line| line.contains("sextant_app_test")), "{before:?}");
    assert!(!before.iter().any(|line| line.contains("sextant_app=")), "{before:?}");
    let again = || Store::migrate(&fixture.database.url, Some(&fixture.database.role));
    again().await.expect("again");
    assert_eq!(privileges(&fixture), before);

    psql(
        &fixture.database.url,
        &[
            "CREATE TABLE later (n integer, m integer)",
            "INSERT INTO later VALUES (1, 1)",
            "GRANT SELECT, UPDATE (m) ON later TO sextant_app",
        ],
    )
    .expect("a later migration");
    again().await.expect("again");
    let app = fixture.raw(&fixture.database.app_url);
    sqlx::raw_sql("UPDATE later SET m = n + 1").execute(&app).await.expect("granted");
    sqlx::raw_sql("UPDATE later SET n = 2").execute(&app).await.expect_err("not granted");
    assert!(!privileges(&fixture).iter().any(|line| line.contains("sextant_app=")));
}

#[tokio::test]
async fn a_renamed_database_gets_a_role_of_its_new_name_and_the_old_one_loses_all() {
    let fixture = Fixture::new().await;
    fixture.store.close().await;
    let (login, renamed) = (&fixture.database.role, stranger(&fixture));
    let admin = url_of(&fixture, "postgres", "postgres");
    psql(&admin, &[&format!("ALTER DATABASE {login} RENAME TO {renamed}")]).expect("renamed");
    let url = url_of(&fixture, &renamed, "postgres");
    let prepared = Store::migrate(&url, Some(login)).await.expect("migrated");
    assert_eq!(prepared.name, format!("sextant_app_{renamed}"));
    let left = format!(
        "SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a
         WHERE a.grantee = 'sextant_app_{login}'::regrole"
    );
    assert_eq!(query(&url, &left).expect("query"), ["0"]);
    let read = query(&url_of(&fixture, &renamed, login), "SELECT count(*) FROM events");
    assert_eq!(read.expect("still works"), ["0"]);
    psql(&admin, &[&format!("ALTER DATABASE {renamed} RENAME TO {login}")]).expect("renamed back");
}

#[tokio::test]
async fn an_owner_without_a_right_is_told_which_and_what_to_run() {
    let fixture = Fixture::new().await;
    let (owner, login) = (stranger(&fixture), stranger(&fixture));
    let admin = &fixture.database.url;
    psql(admin, &[&format!("CREATE DATABASE {owner} OWNER {owner} TEMPLATE template0")])
        .expect("database");
    let url = url_of(&fixture, &owner, &owner);
    let lacking = |error: StoreError| match error {
        StoreError::OwnerLacks { right, statement } => (right, statement),
        other => panic!("{other}"),
    };

    let (right, statement) =
        lacking(Store::migrate(&url, Some(&login)).await.expect_err("may make no roles"));
    assert_eq!((&*right, &*statement), ("CREATEROLE", &*format!("ALTER ROLE {owner} CREATEROLE")));
    psql(admin, &[&statement]).expect("done as told");
    Store::migrate(&url, Some(&login)).await.expect("no superuser is needed");

    // Somebody else who may make roles, but does not own the database.
    psql(admin, &[&format!("ALTER ROLE {login} CREATEROLE")]).expect("altered");
    psql(admin, &[&format!("ALTER DATABASE {owner} OWNER TO postgres")]).expect("altered");
    psql(admin, &[&format!("GRANT CONNECT ON DATABASE {owner} TO PUBLIC")]).expect("granted");
    let other = url_of(&fixture, &owner, &login);
    let (right, statement) =
        lacking(Store::migrate(&other, Some(&login)).await.expect_err("not its database"));
    assert!(right.contains("database"), "{right}");
    psql(admin, &[&statement]).expect("done as told");
    let closed = refusal(&url_of(&fixture, &owner, &stranger(&fixture))).await;
    assert!(closed.contains("permission denied for database"), "{closed}");
    psql(admin, &[&format!("DROP DATABASE {owner} WITH (FORCE)")]).expect("dropped");
}

#[tokio::test]
async fn a_login_role_that_could_change_events_is_recognised() {
    let fixture = Fixture::new().await;
    let standing = async |login: &str| {
        Store::login_standing(&fixture.database.url, login).await.expect("standing")
    };
    assert_eq!(standing(&fixture.database.role).await, LoginStanding::Ordinary);
    assert_eq!(standing("postgres").await, LoginStanding::Owner);
    assert_eq!(standing("no such role").await, LoginStanding::Missing);
}
