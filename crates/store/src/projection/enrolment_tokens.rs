//! Table `enrolment_tokens`.

use sextant_model::{Event, EventBody};
use sqlx::PgConnection;

use crate::error::StoreError;

pub(super) async fn apply(connection: &mut PgConnection, event: &Event) -> Result<(), StoreError> {
    let id = event.aggregate_id;
    match &event.body {
        EventBody::EnrolmentTokenCreated(body) => {
            let roles: Vec<String> =
                body.roles.iter().map(|role| role.as_str().to_owned()).collect();
            sqlx::query!(
                "INSERT INTO enrolment_tokens (token_id, network_id, node_name, roles, phase,
                                               expires_at, created_at)
                 VALUES ($1, $2, $3, $4, 'open', $5, $6)",
                id,
                body.network_id.0,
                body.node_name.as_str(),
                &roles,
                body.expires_at.0,
                event.occurred_at.0
            )
            .execute(connection)
            .await?;
        }
        EventBody::EnrolmentTokenUsed(body) => {
            sqlx::query!(
                "UPDATE enrolment_tokens SET phase = 'used', node_id = $2 WHERE token_id = $1",
                id,
                body.node_id.0
            )
            .execute(connection)
            .await?;
        }
        EventBody::EnrolmentTokenRevoked(_) => {
            sqlx::query!("UPDATE enrolment_tokens SET phase = 'revoked' WHERE token_id = $1", id)
                .execute(connection)
                .await?;
        }
        _ => {}
    }
    Ok(())
}
