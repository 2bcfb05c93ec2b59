//! The one database role that may use a platform's database.
//!
//! Roles belong to the whole cluster, so a role that every platform shared would open each of them
//! to the daemons of all. Here each database has a role of its own, nobody else may connect, and
//! what migrations grant to the shared role `sextant_app` is moved to it.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, Transaction};
use tokio::time::timeout;

use crate::{
    Store,
    connect::{OWNER_LIMIT, connect_owner},
    error::StoreError,
};

/// What [`Store::migrate`] found and made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedRole {
    /// The role that has the daemon's privileges in this database and in no other.
    pub name: String,
    /// Who is a member of it besides the daemon's login role.
    pub other_members: Vec<String>,
}

/// What the role that a daemon logs in as could do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginStanding {
    /// There is no such role.
    Missing,
    /// It owns the tables, or is a superuser: no privilege keeps it from changing events.
    Owner,
    /// It has only what it is granted.
    Ordinary,
}

impl Store {
    /// What `login` could do to the platform's tables. `owner_url` must belong to their owner.
    pub async fn login_standing(owner_url: &str, login: &str) -> Result<LoginStanding, StoreError> {
        let mut owner = connect_owner(owner_url).await?;
        let asked = sqlx::query_scalar!(
            r#"SELECT r.rolsuper OR pg_has_role(r.oid, coalesce(
                   (SELECT c.relowner FROM pg_class c WHERE c.oid = to_regclass('public.events')),
                   (SELECT me.oid FROM pg_roles me WHERE me.rolname = current_user)), 'MEMBER')
                   AS "owns!"
               FROM pg_roles r WHERE r.rolname = $1"#,
            login
        )
        .fetch_optional(&mut owner);
        let owns = timeout(OWNER_LIMIT, asked).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        // Dropped, the connection is closed: there is nothing to wait for.
        drop(owner);
        Ok(match owns {
            None => LoginStanding::Missing,
            Some(true) => LoginStanding::Owner,
            Some(false) => LoginStanding::Ordinary,
        })
    }
}

/// Before the migrations: makes the database's role, lets its members connect and nobody else, and
/// makes `login` a member.
pub(crate) async fn prepare(
    owner: &mut PgConnection,
    login: Option<&str>,
) -> Result<(), StoreError> {
    let mut transaction = begin(owner).await?;
    let it = Names::read(&mut transaction).await?;
    if !it.can_create_roles && !it.migrated {
        return Err(lacks("CREATEROLE", format!("ALTER ROLE {} CREATEROLE", it.me)));
    }
    if !it.exists {
        let create = format!("CREATE ROLE {} NOLOGIN", it.role);
        let remedy = format!("{create}; GRANT {} TO {} WITH ADMIN OPTION", it.role, it.me);
        run(&mut transaction, &create, "CREATEROLE", &remedy).await?;
    }
    let grant = format!("GRANT CONNECT ON DATABASE {} TO {}", it.database, it.role);
    let revoke = format!("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC", it.database);
    for statement in [&grant, &revoke] {
        run(&mut transaction, statement, "ownership of the database", statement).await?;
    }
    // Whoever may not grant or revoke is told so by a notice only.
    let closed = sqlx::query_scalar!(
        r#"SELECT NOT has_database_privilege('public', current_database(), 'CONNECT')
              AND NOT has_database_privilege('public', current_database(), 'TEMPORARY')
              AND has_database_privilege($1, current_database(), 'CONNECT') AS "closed!""#,
        it.role_name
    )
    .fetch_one(&mut *transaction)
    .await?;
    if !closed {
        return Err(lacks("ownership of the database", format!("{grant}; {revoke}")));
    }
    if let Some(login) = login {
        admit(&mut transaction, &it, login).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Makes the login role a member of the database's role.
async fn admit(
    transaction: &mut Transaction<'_, Postgres>,
    it: &Names,
    login: &str,
) -> Result<(), StoreError> {
    let quoted = quote(transaction, login).await?;
    let is_member = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM pg_auth_members m
               JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles l ON l.oid = m.member
               WHERE r.rolname = $1 AND l.rolname = $2) AS "is_member!""#,
        it.role_name,
        login
    )
    .fetch_one(&mut **transaction)
    .await?;
    if !is_member {
        let grant = format!("GRANT {} TO {quoted}", it.role);
        let right = format!("the ADMIN OPTION on the role {}", it.role);
        run(transaction, &grant, &right, &grant).await?;
    }
    let inherits = sqlx::query_scalar!(
        r#"SELECT pg_has_role($1, $2, 'USAGE') AS "inherits!""#,
        login,
        it.role_name
    )
    .fetch_one(&mut **transaction)
    .await?;
    if inherits {
        return Ok(());
    }
    let statement = format!("ALTER ROLE {quoted} INHERIT; GRANT {} TO {quoted}", it.role);
    Err(lacks("a login role that inherits the privileges of its roles", statement))
}

/// After the migrations: moves what they granted to the shared role, and what a copy or another name
/// of this database left with an older role, to the database's own role.
pub(crate) async fn hand_over(
    owner: &mut PgConnection,
    login: Option<&str>,
) -> Result<PreparedRole, StoreError> {
    let mut transaction = begin(owner).await?;
    let it = Names::read(&mut transaction).await?;
    let statements = sqlx::query_scalar!(
        r#"WITH before AS (
               SELECT r.oid, r.rolname FROM pg_roles r
               WHERE r.rolname <> $1 AND (r.rolname = 'sextant_app'
                   OR r.rolname IN (SELECT p.role_name FROM platform_role p))
           ), held AS (
               SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
                      format('%I.%I', n.nspname, c.relname) AS object, a.privilege_type, a.grantee
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
                    aclexplode(c.relacl) a
               UNION ALL
               SELECT 'TABLE', format('%I.%I', n.nspname, c.relname),
                      format('%s (%I)', a.privilege_type, t.attname), a.grantee
               FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
                    JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(t.attacl) a
               WHERE NOT t.attisdropped
               UNION ALL
               SELECT 'ROUTINE', p.oid::regprocedure::text, a.privilege_type, a.grantee
               FROM pg_proc p, aclexplode(p.proacl) a
               UNION ALL
               SELECT 'SCHEMA', quote_ident(n.nspname), a.privilege_type, a.grantee
               FROM pg_namespace n, aclexplode(n.nspacl) a
               UNION ALL
               SELECT 'DATABASE', quote_ident(d.datname), a.privilege_type, a.grantee
               FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database()
           )
           SELECT format('GRANT %1$s ON %2$s %3$s TO %4$I; REVOKE %1$s ON %2$s %3$s FROM %5$I',
                         h.privilege_type, h.kind, h.object, $1::text, b.rolname) AS "statement!"
           FROM held h JOIN before b ON b.oid = h.grantee ORDER BY 1"#,
        it.role_name
    )
    .fetch_all(&mut *transaction)
    .await?;
    for statement in statements {
        run(&mut transaction, &statement, "ownership of the tables", &statement).await?;
    }
    sqlx::query!(
        "INSERT INTO platform_role (role_name) VALUES ($1)
         ON CONFLICT (singleton) DO UPDATE SET role_name = excluded.role_name",
        it.role_name
    )
    .execute(&mut *transaction)
    .await?;
    let other_members = sqlx::query_scalar!(
        r#"SELECT l.rolname AS "member!" FROM pg_auth_members m
           JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles l ON l.oid = m.member
           WHERE r.rolname = $1 AND l.rolname IS DISTINCT FROM $2 AND l.rolname <> current_user
           ORDER BY l.rolname"#,
        it.role_name,
        login
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(PreparedRole { name: it.role_name, other_members })
}

/// Who is who, quoted as SQL wants it unless said otherwise.
struct Names {
    me: String,
    database: String,
    role: String,
    /// As it is, for parameters.
    role_name: String,
    exists: bool,
    can_create_roles: bool,
    /// The first migration, which makes the shared role, has been applied.
    migrated: bool,
}

impl Names {
    async fn read(transaction: &mut Transaction<'_, Postgres>) -> Result<Self, StoreError> {
        // An identifier has 63 bytes at most: a long name of a database is told apart by its hash.
        let names = sqlx::query_as!(
            Names,
            r#"SELECT quote_ident(current_user) AS "me!",
                      quote_ident(current_database()) AS "database!",
                      quote_ident(n.role_name) AS "role!", n.role_name AS "role_name!",
                      EXISTS (SELECT FROM pg_roles r WHERE r.rolname = n.role_name) AS "exists!",
                      me.rolsuper OR me.rolcreaterole AS "can_create_roles!",
                      to_regclass('public.events') IS NOT NULL AS "migrated!"
               FROM pg_roles me, (SELECT 'sextant_app_' || CASE
                   WHEN octet_length(current_database()) <= 51 THEN current_database()::text
                   ELSE left(current_database(), 10) || '_' || left(md5(current_database()), 8)
               END AS role_name) n
               WHERE me.rolname = current_user"#
        )
        .fetch_one(&mut **transaction)
        .await?;
        Ok(names)
    }
}

/// One preparation of a database at a time. The lock ends with the transaction.
async fn begin(owner: &mut PgConnection) -> Result<Transaction<'_, Postgres>, StoreError> {
    let mut transaction = owner.begin().await?;
    sqlx::query!("SELECT pg_advisory_xact_lock(5657, 2)").execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Names of roles and databases cannot be parameters: whoever calls has quoted them.
async fn run(
    transaction: &mut Transaction<'_, Postgres>,
    statement: &str,
    right: &str,
    remedy: &str,
) -> Result<(), StoreError> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut **transaction).await;
    match done.map_err(StoreError::from) {
        Err(StoreError::NotPrepared(_)) => Err(lacks(right, remedy.to_owned())),
        other => other.map(drop),
    }
}

fn lacks(right: &str, statement: String) -> StoreError {
    StoreError::OwnerLacks { right: right.to_owned(), statement }
}

async fn quote(
    transaction: &mut Transaction<'_, Postgres>,
    name: &str,
) -> Result<String, StoreError> {
    let quoted = sqlx::query_scalar!(r#"SELECT quote_ident($1) AS "quoted!""#, name)
        .fetch_one(&mut **transaction)
        .await?;
    Ok(quoted)
}
