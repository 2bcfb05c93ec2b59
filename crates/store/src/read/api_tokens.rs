//! API tokens.

use sextant_api::{page::Page, resource::api_token::ApiToken};
use sextant_model::{ApiTokenId, OperatorRole, OrgId, Timestamp, secret::SecretHash};
use uuid::Uuid;

use super::{PageRequest, column};
use crate::{Store, error::StoreError, unit::Unit};

struct Row {
    token_id: Uuid,
    name: String,
    role: String,
    org_id: Option<Uuid>,
    parent: Option<Uuid>,
    expires_at: Option<time::OffsetDateTime>,
    revoked: bool,
    created_at: time::OffsetDateTime,
}

/// What is needed to decide whether a bearer token is good.
#[derive(Clone, Debug)]
pub struct ApiTokenCredentials {
    /// What it may do.
    pub role: OperatorRole,
    /// The only org it is for, if it is not for the platform.
    pub org_id: Option<OrgId>,
    /// To be compared in constant time.
    pub secret_hash: SecretHash,
    /// Useless from then on.
    pub expires_at: Option<Timestamp>,
    /// Whether it was taken back.
    pub revoked: bool,
}

impl TryFrom<Row> for ApiToken {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: ApiTokenId(row.token_id),
            name: column("api_tokens", row.name)?,
            role: column("api_tokens", row.role)?,
            org_id: row.org_id.map(OrgId),
            parent: row.parent.map(ApiTokenId),
            expires_at: row.expires_at.map(Timestamp),
            revoked: row.revoked,
            created_at: Timestamp(row.created_at),
            token: None,
        })
    }
}

impl Unit {
    /// The API tokens of an org that were not revoked, as exactly as the log knows them: those that
    /// were projected, and those that were made since.
    pub async fn tokens_of(&mut self, org: OrgId) -> Result<Vec<ApiTokenId>, StoreError> {
        let ids = sqlx::query_scalar!(
            r#"SELECT token_id AS "id!" FROM api_tokens WHERE org_id = $1 AND NOT revoked
               UNION
               SELECT aggregate_id FROM events
               WHERE event_type = 'api-token-created' AND payload ->> 'org_id' = $2
                 AND event_id > (SELECT last_applied_event_id FROM projection_checkpoints
                                 WHERE projection = 'api-tokens')
               ORDER BY 1"#,
            org.0,
            org.to_string()
        )
        .fetch_all(self.open().await?)
        .await?;
        Ok(ids.into_iter().map(ApiTokenId).collect())
    }
}

impl Unit {
    /// Every API token with the one that made it, exactly as the log knows them. (The first of a
    /// platform was made by nobody.)
    pub async fn made_tokens(&mut self) -> Result<Vec<(ApiTokenId, ApiTokenId)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT aggregate_id, actor_id FROM events
             WHERE aggregate_type = 'api-token' AND aggregate_seq = 1"
        )
        .fetch_all(self.open().await?)
        .await?;
        let made = |id, by| (ApiTokenId(id), ApiTokenId(by));
        Ok(rows.into_iter().map(|row| made(row.aggregate_id, row.actor_id)).collect())
    }
}

impl Store {
    /// A page of API tokens: all, or those of one org.
    pub async fn api_tokens(
        &self,
        org: Option<OrgId>,
        page: PageRequest,
    ) -> Result<Page<ApiToken>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            // The token that made it is the actor of its first event. An org sees its own only.
            "SELECT token_id, name, role, org_id, expires_at, revoked, created_at,
                    (SELECT parent.token_id FROM events JOIN api_tokens parent
                         ON parent.token_id = events.actor_id
                     WHERE aggregate_type = 'api-token' AND aggregate_id = child.token_id
                       AND aggregate_seq = 1 AND ($2::uuid IS NULL OR parent.org_id = $2)) AS parent
             FROM api_tokens child
             WHERE token_id > $1 AND ($2::uuid IS NULL OR org_id = $2) ORDER BY token_id LIMIT $3",
            page.after(),
            org.map(|org| org.0),
            page.fetch()
        )
        .fetch_all(&self.pool)
        .await?;
        let tokens: Result<Vec<_>, _> = rows.into_iter().map(ApiToken::try_from).collect();
        Ok(page.page(tokens?, |token| token.id.0))
    }

    /// One API token, as an org sees it or as the platform does.
    pub async fn api_token(
        &self,
        id: ApiTokenId,
        org: Option<OrgId>,
    ) -> Result<Option<ApiToken>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "SELECT token_id, name, role, org_id, expires_at, revoked, created_at,
                    (SELECT parent.token_id FROM events JOIN api_tokens parent
                         ON parent.token_id = events.actor_id
                     WHERE aggregate_type = 'api-token' AND aggregate_id = child.token_id
                       AND aggregate_seq = 1 AND ($2::uuid IS NULL OR parent.org_id = $2)) AS parent
             FROM api_tokens child WHERE token_id = $1",
            id.0,
            org.map(|org| org.0)
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(ApiToken::try_from).transpose()
    }

    /// What is needed to check a bearer token; `None` if there is no such token.
    pub async fn api_token_credentials(
        &self,
        id: ApiTokenId,
    ) -> Result<Option<ApiTokenCredentials>, StoreError> {
        let row = sqlx::query!(
            // The log itself says whether it was revoked: a projection may be behind. Whatever
            // ends a token ends those that were made with it: the actor of a token's first event
            // is the token that made it.
            r#"WITH RECURSIVE line AS (
                   SELECT $1::uuid AS token_id
                   UNION
                   SELECT events.actor_id FROM line JOIN events
                       ON aggregate_type = 'api-token' AND aggregate_id = line.token_id
                      AND aggregate_seq = 1)
               SELECT role, org_id, secret_hash,
                      (SELECT min(expires_at) FROM api_tokens JOIN line USING (token_id))
                          AS expires_at,
                      revoked OR EXISTS (
                          SELECT FROM events JOIN line ON aggregate_id = line.token_id
                          WHERE aggregate_type = 'api-token'
                            AND event_type = 'api-token-revoked') AS "revoked!"
               FROM api_tokens WHERE token_id = $1"#,
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(ApiTokenCredentials {
                role: column("api_tokens", row.role)?,
                org_id: row.org_id.map(OrgId),
                secret_hash: SecretHash::from(row.secret_hash),
                expires_at: row.expires_at.map(Timestamp),
                revoked: row.revoked,
            })
        })
        .transpose()
    }
}
