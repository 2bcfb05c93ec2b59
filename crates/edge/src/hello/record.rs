//! The record layer below the ClientHello (RFC 8446 section 5.1): takes the headers out of the
//! stream and leaves the fragments.

use super::{Part, Rejected};

/// Most records one ClientHello may come in, empty ones included, which OpenSSL tolerates too. A
/// message of 16 KiB fits in records of one byte, the longest one in records of four.
pub const MAX_RECORDS: u32 = 20_000;

const HANDSHAKE: u8 = 22;
pub(super) const HEADER: u8 = 5;
/// Longest fragment of a plaintext record.
const MAX_FRAGMENT: u16 = 1 << 14;

/// How far the stream of records has been read.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Bytes of the current header that have been read; [`HEADER`] while in a fragment.
    header: u8,
    /// Bytes of the current fragment still to come.
    left: u16,
    /// Records whose header is complete.
    count: u32,
}

impl Records {
    /// Splits `new` into the next piece of fragment, which may be empty, and what follows it.
    /// Takes at least one byte of a `new` that is not empty.
    pub fn fragment<'a>(&mut self, mut new: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Rejected> {
        if self.left == 0 && self.header == HEADER {
            self.header = 0;
        }
        while self.header < HEADER {
            let Some((byte, rest)) = new.split_first() else { return Ok((&[], new)) };
            self.header_byte(*byte)?;
            new = rest;
        }
        let (fragment, rest) = new.split_at(new.len().min(usize::from(self.left)));
        self.left -= u16::try_from(fragment.len()).unwrap_or(self.left);
        Ok((fragment, rest))
    }

    pub fn has_begun(&self) -> bool {
        self.count > 0 || self.header > 0
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    fn header_byte(&mut self, byte: u8) -> Result<(), Rejected> {
        match self.header {
            0 if byte != HANDSHAKE => return Err(self.foreign(Part::RecordType)),
            1 if byte != 3 => return Err(self.foreign(Part::RecordVersion)),
            2 if byte > 4 => return Err(Rejected::Malformed(Part::RecordVersion)),
            3 | 4 => self.left = self.left << 8 | u16::from(byte),
            _ => {}
        }
        self.header += 1;
        if self.header < HEADER {
            return Ok(());
        }
        if self.left > MAX_FRAGMENT {
            return Err(Rejected::Malformed(Part::RecordLength));
        }
        self.count += 1;
        if self.count > MAX_RECORDS {
            return Err(Rejected::TooManyRecords);
        }
        Ok(())
    }

    /// The same byte says "not TLS" in the first record, and "broken" after a good one.
    fn foreign(&self, part: Part) -> Rejected {
        if self.count == 0 { Rejected::NotTls } else { Rejected::Malformed(part) }
    }
}
