//! CRC-32C (Castagnoli; RFC 3720 appendix B.4), which may protect a header.

/// The polynomial, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "below 256; no `try_from` in constants"
        )]
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ ((remainder & 1) * POLYNOMIAL);
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

/// A checksum in the making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32c {
    /// Adds `byte`.
    pub fn push(&mut self, byte: u8) {
        let [low, ..] = self.0.to_le_bytes();
        self.0 = (self.0 >> 8) ^ TABLE[usize::from(low ^ byte)];
    }

    /// The checksum of all bytes so far.
    pub fn sum(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the catalogue of CRCs, and the examples of RFC 3720.
    #[test]
    fn known_sums_are_met() {
        let sum = |bytes: &[u8]| {
            let mut crc = Crc32c::default();
            for byte in bytes {
                crc.push(*byte);
            }
            crc.sum()
        };
        assert_eq!(sum(b"123456789"), 0xe306_9283);
        assert_eq!(sum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(sum(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(sum(b""), 0);
    }
}
