//! Table `hostnames`: those that are owned and those that wait for their proof.

use sextant_model::{Event, EventBody};
use uuid::Uuid;

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
    let id = event.aggregate_id;
    match &event.body {
        EventBody::HostnameClaimed(body) => {
            let owned = body.challenge.is_none();
            let challenge = body.challenge.as_deref();
            let name = body.hostname.to_string();
            put(connection, event, &name, body.org_id.0, challenge, owned).await
        }
        EventBody::HostnameAcquired(body) => {
            let name = body.hostname.to_string();
            put(connection, event, &name, body.org_id.0, None, true).await
        }
        EventBody::HostnameVerified(body) => {
            sqlx::query!(
                "UPDATE hostnames SET owned = true, challenge = NULL
                 WHERE environment_id = $1 AND hostname = $2",
                id,
                body.hostname.to_string()
            )
            .execute(connection)
            .await?;
            Ok(())
        }
        EventBody::HostnameSurrendered(body) => {
            take(connection, id, &body.hostname.to_string()).await
        }
        EventBody::HostnameReleased(body) => take(connection, id, &body.hostname.to_string()).await,
        _ => Ok(()),
    }
}

async fn put(
    connection: &mut PgConnection,
    event: &Event,
    hostname: &str,
    org: Uuid,
    challenge: Option<&str>,
    owned: bool,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO hostnames (environment_id, hostname, org_id, challenge, owned, since)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT ON CONSTRAINT hostnames_pkey DO UPDATE SET
             challenge = excluded.challenge, owned = excluded.owned, since = excluded.since",
        event.aggregate_id,
        hostname,
        org,
        challenge,
        owned,
        event.occurred_at.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn take(
    connection: &mut PgConnection,
    environment: Uuid,
    hostname: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM hostnames WHERE environment_id = $1 AND hostname = $2",
        environment,
        hostname
    )
    .execute(connection)
    .await?;
    Ok(())
}
