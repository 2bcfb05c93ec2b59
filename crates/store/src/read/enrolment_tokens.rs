//! Enrolment tokens.

use sextant_api::{page::Page, resource::enrolment::EnrolmentToken};
use sextant_model::{EnrolmentTokenId, NetworkId, NodeId, Timestamp};
use uuid::Uuid;

use super::{PageRequest, column, columns};
use crate::{Store, error::StoreError};

struct Row {
    token_id: Uuid,
    network_id: Uuid,
    node_name: String,
    roles: Vec<String>,
    phase: String,
    node_id: Option<Uuid>,
    expires_at: time::OffsetDateTime,
    created_at: time::OffsetDateTime,
}

impl TryFrom<Row> for EnrolmentToken {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: EnrolmentTokenId(row.token_id),
            network_id: NetworkId(row.network_id),
            node_name: column("enrolment_tokens", row.node_name)?,
            roles: columns("enrolment_tokens", row.roles)?,
            phase: column("enrolment_tokens", row.phase)?,
            node_id: row.node_id.map(NodeId),
            expires_at: Timestamp(row.expires_at),
            created_at: Timestamp(row.created_at),
            refused: None,
            token: None,
        })
    }
}

impl Store {
    /// A page of enrolment tokens.
    pub async fn enrolment_tokens(
        &self,
        page: PageRequest,
    ) -> Result<Page<EnrolmentToken>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT * FROM enrolment_tokens WHERE token_id > $1 ORDER BY token_id LIMIT $2",
            page.after(),
            page.fetch()
        )
        .fetch_all(&self.pool)
        .await?;
        let tokens: Result<Vec<_>, _> = rows.into_iter().map(EnrolmentToken::try_from).collect();
        Ok(page.page(tokens?, |token| token.id.0))
    }

    /// One enrolment token.
    pub async fn enrolment_token(
        &self,
        id: EnrolmentTokenId,
    ) -> Result<Option<EnrolmentToken>, StoreError> {
        let row = sqlx::query_as!(Row, "SELECT * FROM enrolment_tokens WHERE token_id = $1", id.0)
            .fetch_optional(&self.pool)
            .await?;
        row.map(EnrolmentToken::try_from).transpose()
    }
}
