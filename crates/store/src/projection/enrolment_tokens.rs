//! Table `enrolment_tokens`. Many tokens may be made at once, so those of a batch go in together.

use sextant_model::{Event, EventBody, event::EnrolmentTokenCreated};

use crate::{error::StoreError, session::PgConnection};

pub(super) async fn apply(
    connection: &mut PgConnection,
    events: &[Event],
) -> Result<(), StoreError> {
    let created: Vec<_> = events.iter().filter_map(created).collect();
    if !created.is_empty() {
        insert(connection, &created).await?;
    }
    // A token is made before anything else can happen to it.
    for event in events {
        update(connection, event).await?;
    }
    Ok(())
}

fn created(event: &Event) -> Option<(&Event, &EnrolmentTokenCreated)> {
    match &event.body {
        EventBody::EnrolmentTokenCreated(body) => Some((event, body)),
        _ => None,
    }
}

async fn insert(
    connection: &mut PgConnection,
    created: &[(&Event, &EnrolmentTokenCreated)],
) -> Result<(), StoreError> {
    let ids: Vec<_> = created.iter().map(|(event, _)| event.aggregate_id).collect();
    let networks: Vec<_> = created.iter().map(|(_, body)| body.network_id.0).collect();
    let names: Vec<_> = created.iter().map(|(_, body)| body.node_name.to_string()).collect();
    let roles: Vec<_> = created.iter().map(|(_, body)| joined_roles(body)).collect();
    let expiries: Vec<_> = created.iter().map(|(_, body)| body.expires_at.0).collect();
    let moments: Vec<_> = created.iter().map(|(event, _)| event.occurred_at.0).collect();
    sqlx::query!(
        "INSERT INTO enrolment_tokens (token_id, network_id, node_name, roles, phase, expires_at,
                                       created_at)
         SELECT id, network, name, string_to_array(roles, ','), 'open', expires_at, created_at
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[],
                     $6::timestamptz[])
              AS t (id, network, name, roles, expires_at, created_at)",
        &ids,
        &networks,
        &names,
        &roles,
        &expiries,
        &moments
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Arrays of arrays have no place in `unnest`; roles hold no comma.
fn joined_roles(body: &EnrolmentTokenCreated) -> String {
    let roles: Vec<_> = body.roles.iter().map(|role| role.as_str()).collect();
    roles.join(",")
}

async fn update(connection: &mut PgConnection, event: &Event) -> Result<(), StoreError> {
    let id = event.aggregate_id;
    match &event.body {
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
