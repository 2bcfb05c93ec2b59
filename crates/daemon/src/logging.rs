//! Structured logs on stderr. ERROR means that someone should get up.

use serde::Deserialize;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Section `[log]` of every daemon.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, for example `info` or `info,sextant_agent=debug`.
    pub filter: String,
}

/// Notices of the database driver are for its developers.
const DEFAULT_FILTER: &str = "info,sqlx::postgres::notice=warn";

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people and the journal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: DEFAULT_FILTER.into() }
    }
}

/// A filter that is none.
#[derive(Debug, thiserror::Error)]
#[error("log.filter \"{filter}\" is not valid: {reason}")]
pub struct InvalidFilter {
    filter: String,
    reason: String,
}

/// Starts logging. Call once, first.
pub fn init(config: &LogConfig) -> Result<(), InvalidFilter> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| InvalidFilter {
        filter: config.filter.clone(),
        reason: error.to_string(),
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    // A second call, as tests make it, changes nothing.
    let _ = match config.format {
        LogFormat::Text => {
            let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
            registry.with(layer).try_init()
        }
        LogFormat::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
    };
    Ok(())
}
