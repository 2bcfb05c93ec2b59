//! The configuration in the words of the data plane.

use crate::{
    balance::Ejection,
    config::{self, EdgeConfig, OnRemoved},
    limits::LimitSettings,
    worker::{RouteRemoved, Settings},
};

/// Who may connect.
pub fn limits(config: &config::Limits) -> LimitSettings {
    LimitSettings {
        connections: config.max_connections as usize,
        prereads: config.max_prereads as usize,
        source_connections: config.per_source_connections,
        source_prereads: config.per_source_prereads,
        ipv6_prefix: config.source_prefix_ipv6,
        ipv4_prefix: config.source_prefix_ipv4,
    }
}

/// What holds for all connections, with so many descriptors.
pub fn workers(config: &EdgeConfig, descriptors: usize) -> Settings {
    Settings {
        preread_timeout: config.timeouts.hello,
        connect_timeout: config.timeouts.connect,
        idle_timeout: config.timeouts.idle,
        half_close_timeout: config.timeouts.half_close,
        tcp_user_timeout: config.timeouts.tcp_user_timeout,
        ejection: Ejection {
            after: config.health.eject_after,
            first: config.health.eject_for,
            longest: config.health.eject_at_most,
        },
        route_removed: match config.on_route_removed {
            OnRemoved::Keep => RouteRemoved::Keep,
            OnRemoved::Drain(time) => RouteRemoved::DrainFor(time),
            OnRemoved::Cut => RouteRemoved::Cut,
        },
        descriptors,
        ..Settings::default()
    }
}
