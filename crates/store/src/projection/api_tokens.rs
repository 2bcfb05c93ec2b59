//! Table `api_tokens`.

use sextant_model::{Event, EventBody};

use crate::{error::StoreError, session::PgConnection};

pub(super) async fn apply(
    connection: &mut PgConnection,
    events: &[Event],
) -> Result<(), StoreError> {
    for event in events {
        apply_one(connection, event).await?;
    }
    Ok(())
}

async fn apply_one(connection: &mut PgConnection, event: &Event) -> Result<(), StoreError> {
    match &event.body {
        EventBody::ApiTokenCreated(body) => {
            let hash = body.secret_hash.as_ref().map_or("", |hash| hash.as_str());
            sqlx::query!(
                "INSERT INTO api_tokens (token_id, name, role, secret_hash, expires_at, revoked,
                                         created_at, org_id)
                 VALUES ($1, $2, $3, $4, $5, false, $6, $7)",
                event.aggregate_id,
                body.name.as_str(),
                body.role.as_str(),
                hash,
                body.expires_at.map(|at| at.0),
                event.occurred_at.0,
                body.org_id.map(|org| org.0)
            )
            .execute(connection)
            .await?;
        }
        EventBody::ApiTokenRevoked(_) => {
            sqlx::query!(
                "UPDATE api_tokens SET revoked = true WHERE token_id = $1",
                event.aggregate_id
            )
            .execute(connection)
            .await?;
        }
        _ => {}
    }
    Ok(())
}
