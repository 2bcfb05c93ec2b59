//! Networks.

use ipnet::IpNet;
use sextant_api::{page::Page, resource::network::Network};
use sextant_model::{NetworkId, Prefix, Timestamp};
use uuid::Uuid;

use super::{PageRequest, column};
use crate::{Store, error::StoreError, session::PgConnection};

struct Row {
    network_id: Uuid,
    name: String,
    ip_stack_mode: String,
    topology: String,
    ipv6_prefix: Option<IpNet>,
    ipv4_prefix: Option<IpNet>,
    version: i32,
    created_at: time::OffsetDateTime,
}

impl TryFrom<Row> for Network {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: NetworkId(row.network_id),
            name: column("networks", row.name)?,
            ip_stack_mode: column("networks", row.ip_stack_mode)?,
            topology: column("networks", row.topology)?,
            ipv6_prefix: row.ipv6_prefix.map(prefix).transpose()?,
            ipv4_prefix: row.ipv4_prefix.map(prefix).transpose()?,
            version: row.version,
            created_at: Timestamp(row.created_at),
        })
    }
}

fn prefix(net: IpNet) -> Result<Prefix, StoreError> {
    Prefix::new(net)
        .map_err(|error| StoreError::Inconsistent { table: "networks", reason: error.to_string() })
}

impl Store {
    /// A page of networks.
    pub async fn networks(&self, page: PageRequest) -> Result<Page<Network>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let networks = list(&mut connection, page.after(), page.fetch()).await?;
        Ok(page.page(networks, |network| network.id.0))
    }

    /// One network.
    pub async fn network(&self, id: NetworkId) -> Result<Option<Network>, StoreError> {
        let row = sqlx::query_as!(Row, "SELECT * FROM networks WHERE network_id = $1", id.0)
            .fetch_optional(&self.pool)
            .await?;
        row.map(Network::try_from).transpose()
    }
}

pub(super) async fn list(
    connection: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Network>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT * FROM networks WHERE network_id > $1 ORDER BY network_id LIMIT $2",
        after,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Network::try_from).collect()
}

/// The prefix of a network's mesh, if it has one.
pub(super) async fn ipv6_prefix(
    connection: &mut PgConnection,
    network: NetworkId,
) -> Result<Option<Prefix>, StoreError> {
    let found =
        sqlx::query_scalar!("SELECT ipv6_prefix FROM networks WHERE network_id = $1", network.0)
            .fetch_optional(connection)
            .await?;
    found.flatten().map(prefix).transpose()
}
