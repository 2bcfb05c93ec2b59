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

impl Store {
    /// A page of API tokens: all, or those of one org.
    pub async fn api_tokens(
        &self,
        org: Option<OrgId>,
        page: PageRequest,
    ) -> Result<Page<ApiToken>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT token_id, name, role, org_id, expires_at, revoked, created_at FROM api_tokens
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

    /// One API token.
    pub async fn api_token(&self, id: ApiTokenId) -> Result<Option<ApiToken>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "SELECT token_id, name, role, org_id, expires_at, revoked, created_at FROM api_tokens
             WHERE token_id = $1",
            id.0
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
            // The log itself says whether it was revoked: a projection may be behind.
            r#"SELECT role, org_id, secret_hash, expires_at, revoked OR EXISTS (
                   SELECT FROM events WHERE aggregate_type = 'api-token' AND aggregate_id = $1
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
