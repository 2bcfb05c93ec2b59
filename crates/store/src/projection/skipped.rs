//! Events that the projections left out, because the version that projected cannot read them.

use std::collections::BTreeMap;

use sextant_model::{Event, EventBody};

use crate::{Store, error::StoreError, session::PgConnection};

/// Writes down which of `events` cannot be read.
pub(super) async fn note(
    connection: &mut PgConnection,
    events: &[Event],
) -> Result<(), StoreError> {
    let mut unknown: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for event in events {
        if let Some(body) = event.body.unknown() {
            let span = unknown.entry(&body.event_type).or_insert((event.event_id, event.event_id));
            span.1 = event.event_id;
        }
    }
    for (event_type, (first, last)) in unknown {
        let inserted = sqlx::query_scalar!(
            r#"INSERT INTO skipped_events (event_type, first_event_id, last_event_id)
               VALUES ($1, $2, $3)
               ON CONFLICT (event_type) DO UPDATE SET
                   first_event_id = least(skipped_events.first_event_id, excluded.first_event_id),
                   last_event_id = greatest(skipped_events.last_event_id, excluded.last_event_id)
               RETURNING xmax::text = '0' AS "inserted!""#,
            event_type,
            first,
            last
        )
        .fetch_one(&mut *connection)
        .await?;
        if inserted {
            tracing::warn!(
                event_type,
                event_id = first,
                "events of this type are left out of the projections: a newer version wrote them; \
                 it will make the projections anew"
            );
        }
    }
    Ok(())
}

/// Forgets all of them, before everything is projected anew.
pub(super) async fn forget(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM skipped_events").execute(connection).await?;
    Ok(())
}

impl Store {
    /// Makes the projections anew if events were left out of them that this version can read.
    /// Returns whether it did.
    pub async fn project_skipped(&self) -> Result<bool, StoreError> {
        let rows = sqlx::query!(
            "SELECT e.event_type, e.payload FROM skipped_events s
             JOIN events e ON e.event_id IN (s.first_event_id, s.last_event_id)"
        )
        .fetch_all(&self.pool)
        .await?;
        let readable = rows.into_iter().find_map(|row| {
            let body = EventBody::from_columns(&row.event_type, row.payload);
            body.unknown().is_none().then_some(row.event_type)
        });
        let Some(event_type) = readable else { return Ok(false) };
        tracing::info!(
            event_type,
            "an earlier version left out events; projecting everything anew"
        );
        self.rebuild().await?;
        Ok(true)
    }
}
