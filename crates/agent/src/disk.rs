//! Room on the disk of the state folder: seen before it runs out.

use std::path::Path;

use sextant_model::health::DISK_NOTICE_BYTES;

/// The disk is nearly full.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk of \"{path}\" is nearly full: {free_kib} KiB are free; make room")]
pub struct DiskNearlyFull {
    path: String,
    free_kib: u64,
}

/// Whether there is room on the disk that holds `path`. A disk that cannot be asked is not full.
pub fn check(path: &Path) -> Result<(), DiskNearlyFull> {
    let Ok(disk) = rustix::fs::statvfs(path) else { return Ok(()) };
    let (free, total) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    if is_enough(free, total) {
        return Ok(());
    }
    Err(DiskNearlyFull { path: path.display().to_string(), free_kib: free / 1024 })
}

/// A small disk needs less: a tenth of it.
fn is_enough(free: u64, total: u64) -> bool {
    free >= DISK_NOTICE_BYTES.min(total / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_nearly_full_by_what_is_free_and_a_small_one_by_its_size() {
        const MIB: u64 = 1024 * 1024;
        for (free, total, enough) in [
            (16 * MIB, 100_000 * MIB, true),
            (15 * MIB, 100_000 * MIB, false),
            (60 * 1024, 64 * 1024, true),
            (4096, 64 * 1024, false),
            (0, 0, true),
        ] {
            assert_eq!(is_enough(free, total), enough, "{free} of {total}");
        }
    }
}
