//! The copy of the node's identity for an edge that runs as another user.

use sextant_daemon::private_file::{self, PrivateFileError};

use crate::config::EdgeIdentity;

/// Writes CA, certificate and TLS key (all PEM) where the edge's group, and nobody else, reads them. The
/// key first: an edge that looks in between has a key and a certificate that fit.
pub fn publish(
    place: &EdgeIdentity,
    ca: &str,
    certificate: &str,
    key: &str,
) -> Result<(), PrivateFileError> {
    private_file::create_folder_for_group(&place.dir, place.group)?;
    private_file::remove_leftovers(&place.dir);
    for (name, content) in [("client.key", key), ("ca.crt", ca), ("client.crt", certificate)] {
        private_file::write_for_group(&place.dir.join(name), content.as_bytes(), place.group)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn the_edges_group_may_read_the_copy_and_nobody_else() {
        let root = tempfile::tempdir().expect("folder");
        let group = std::fs::metadata(root.path()).expect("metadata").gid();
        let place = EdgeIdentity { dir: root.path().join("identity"), group };
        for round in ["first", "second"] {
            publish(&place, "ca", round, "key").expect("published");
            let mode = |path: &std::path::Path| {
                let metadata = std::fs::metadata(path).expect("metadata");
                (metadata.permissions().mode() & 0o7777, metadata.gid())
            };
            assert_eq!(mode(&place.dir), (0o750, group));
            for name in ["ca.crt", "client.crt", "client.key"] {
                assert_eq!(mode(&place.dir.join(name)), (0o640, group), "{name}");
            }
            let certificate = std::fs::read_to_string(place.dir.join("client.crt"));
            assert_eq!(certificate.expect("read"), round);
        }
        assert_eq!(std::fs::read_dir(&place.dir).expect("folder").count(), 3, "no WireGuard key");
    }
}
