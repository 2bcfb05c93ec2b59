//! The workers on real sockets: clients and backends are threads of the test.

mod edge;
mod limits;
mod preread;
mod relay;
mod routing;
