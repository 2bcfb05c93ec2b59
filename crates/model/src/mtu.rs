//! MTU of the overlay, computed from the underlay.

/// Bytes WireGuard adds to a packet over IPv6: 40 (IPv6) + 8 (UDP) + 32 (WireGuard data header and tag).
pub const OVERHEAD: u32 = 80;

/// The least an IPv6 link must carry (RFC 8200 section 5).
pub const MINIMUM: u32 = 1280;

/// An underlay too narrow for an IPv6 overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "underlay MTU {underlay} leaves {inner} bytes inside the overlay, and IPv6 needs {MINIMUM}; raise the underlay MTU to at least {needed}",
    needed = MINIMUM + OVERHEAD
)]
pub struct UnderlayTooNarrow {
    /// MTU of the underlay interface.
    pub underlay: u32,
    /// What would be left inside.
    pub inner: u32,
}

/// The overlay's MTU over an underlay with this MTU.
pub fn overlay(underlay: u32) -> Result<u32, UnderlayTooNarrow> {
    let inner = underlay.saturating_sub(OVERHEAD);
    if inner < MINIMUM { Err(UnderlayTooNarrow { underlay, inner }) } else { Ok(inner) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_is_80_bytes_narrower_and_never_below_1280() {
        assert_eq!(overlay(1500), Ok(1420));
        assert_eq!(overlay(9000), Ok(8920));
        assert_eq!(overlay(1360), Ok(1280));
        let error = overlay(1359).expect_err("too narrow").to_string();
        assert!(error.contains("at least 1360"), "{error}");
        assert!(overlay(0).is_err());
    }
}
