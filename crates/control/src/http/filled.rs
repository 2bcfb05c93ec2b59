//! Nothing is read from a projection that is still being filled: its rows are those of no point of
//! the log.

use axum::http::Uri;
use sextant_store::projection::Projections;

use crate::{app::App, error::ApiError};

/// What each part of the API reads. What does not stand here reads all of them.
const READS: [(&str, &[&str]); 10] = [
    ("/v1/health", &[]),
    ("/v1/ready", &[]),
    ("/v1/openapi.json", &[]),
    // Snapshots look for themselves what they read.
    ("/v1/events", ACCESS),
    ("/v1/snapshot", ACCESS),
    ("/v1/stream", ACCESS),
    ("/v1/networks", &["api-tokens", "environments", "networks", "nodes"]),
    ("/v1/nodes", &["api-tokens", "networks", "nodes", "workloads"]),
    ("/v1/orgs", &["api-tokens", "apps", "nodes", "orgs"]),
    ("/v1/api-tokens", ACCESS),
];
/// Who is asking is read for every request.
const ACCESS: &[&str] = &["api-tokens", "nodes"];

/// Refuses a request whose answer would rest on a projection that is not filled.
pub fn check(app: &App, uri: &Uri) -> Result<(), ApiError> {
    let reads = reads(uri.path());
    if reads == Projections::default() || app.tail.position().is_filled(reads) {
        return Ok(());
    }
    Err(ApiError::NotReady("what the request reads is still being filled from the log".into()))
}

fn reads(path: &str) -> Projections {
    let is_below = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    READS
        .iter()
        .find(|(prefix, _)| is_below(prefix))
        .map_or(Projections::ALL, |(_, names)| Projections::named(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_need_less_needs_everything() {
        assert_eq!(reads("/v1/health"), Projections::default());
        assert_eq!(reads("/v1/routes/explain"), Projections::ALL);
        assert_eq!(reads("/v1/nodes-of-another-kind"), Projections::ALL);
        let nodes = Projections::named(&["api-tokens", "networks", "nodes", "workloads"]);
        assert_eq!(reads("/v1/nodes/5"), nodes);
    }

    #[test]
    fn every_name_is_that_of_a_projection() {
        for (path, names) in READS {
            assert_eq!(Projections::named(names).names().len(), names.len(), "{path}");
        }
    }
}
