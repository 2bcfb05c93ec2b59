//! The handshake message itself (RFC 8446 section 4.1.2), read field by field.
//!
//! Each field has a known length when it begins, and is checked then to fit into what surrounds
//! it. Numbers are summed up as their bytes come, the server name is captured, and everything else
//! is skipped by its length, so a large hello costs as many steps as it has fields.

use super::{InvalidName, Part, Rejected, ServerName};

/// Longest ClientHello, in bytes after its header of four. Go's TLS has the same limit.
pub const MAX_MESSAGE: u32 = 64 * 1024;

const CLIENT_HELLO: u32 = 1;
/// Servers answer later versions with the one they have (RFC 5246 appendix E.1).
const SSL_3: u32 = 0x0300;
const MAX_SESSION_ID: u32 = 32;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const HOST_NAME: u32 = 0;
/// A name of 253 bytes and a trailing dot.
const MAX_RAW_NAME: u32 = 254;
/// Type and length of a handshake message.
const HEADER: u32 = 4;

/// The field that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Type,
    Length,
    LegacyVersion,
    Random,
    SessionIdLength,
    SessionId,
    CipherSuitesLength,
    CipherSuites,
    CompressionLength,
    Compression,
    ExtensionsLength,
    ExtensionType,
    ExtensionLength,
    Extension,
    NameListLength,
    NameType,
    NameLength,
    Name,
}

impl Field {
    /// What is wrong if the field has no room or holds an impossible value.
    fn part(self) -> Part {
        match self {
            Self::Type | Self::Length => Part::HandshakeType,
            Self::LegacyVersion => Part::LegacyVersion,
            Self::Random => Part::Random,
            Self::SessionIdLength | Self::SessionId => Part::SessionId,
            Self::CipherSuitesLength | Self::CipherSuites => Part::CipherSuites,
            Self::CompressionLength | Self::Compression => Part::CompressionMethods,
            Self::ExtensionsLength => Part::Extensions,
            Self::ExtensionType | Self::ExtensionLength | Self::Extension => Part::Extension,
            Self::NameListLength | Self::NameType | Self::NameLength | Self::Name => {
                Part::ServerName
            }
        }
    }
}

/// How far the message has been read, and what it said.
#[derive(Debug)]
pub(super) struct Message {
    field: Field,
    /// Bytes of the field still to come.
    field_left: u32,
    /// Bytes of the message still to come, those of the field included.
    left: u32,
    /// The bytes of the field so far, if it is a number.
    number: u32,
    /// Length of the message with its header.
    size: u32,
    /// Type of the current extension.
    extension: u16,
    /// What is left of the message at the end of the server name extension.
    extension_end: u32,
    /// One bit for each extension type below 64 that has been seen.
    seen: u64,
    ech_offered: bool,
    server_name: Option<ServerName>,
    address_for_name: bool,
    raw_name: [u8; MAX_RAW_NAME as usize],
    raw_name_length: u8,
}

impl Default for Message {
    fn default() -> Self {
        Self {
            field: Field::Type,
            field_left: 1,
            left: HEADER,
            number: 0,
            size: 0,
            extension: 0,
            extension_end: 0,
            seen: 0,
            ech_offered: false,
            server_name: None,
            address_for_name: false,
            raw_name: [0; MAX_RAW_NAME as usize],
            raw_name_length: 0,
        }
    }
}

impl Message {
    /// Takes the next bytes of the message; `true` once it is complete.
    pub fn read(&mut self, mut fragment: &[u8]) -> Result<bool, Rejected> {
        while !fragment.is_empty() {
            fragment = self.read_field(fragment);
            // A field of length zero ends where it begins.
            while self.field_left == 0 {
                if self.end_field()? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    pub fn take_server_name(&mut self) -> Option<ServerName> {
        self.server_name.take()
    }

    pub fn address_for_name(&self) -> bool {
        self.address_for_name
    }

    pub fn ech_offered(&self) -> bool {
        self.ech_offered
    }

    pub fn size(&self) -> u32 {
        self.size
    }

    /// Takes what `bytes` holds of the current field and returns what follows.
    fn read_field<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let here = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(self.field_left);
        let (bytes, rest) = bytes.split_at(here as usize);
        match self.field {
            Field::Name => {
                let start = usize::from(self.raw_name_length);
                self.raw_name[start..start + bytes.len()].copy_from_slice(bytes);
                self.raw_name_length += u8::try_from(bytes.len()).unwrap_or(0);
            }
            Field::Random
            | Field::SessionId
            | Field::CipherSuites
            | Field::Compression
            | Field::Extension => {}
            _ => {
                self.number =
                    bytes.iter().fold(self.number, |sum, byte| sum << 8 | u32::from(*byte));
            }
        }
        self.field_left -= here;
        self.left -= here;
        rest
    }

    /// Judges the field that is complete and begins the next; `true` after the last.
    fn end_field(&mut self) -> Result<bool, Rejected> {
        let number = self.number;
        match self.field {
            Field::Type if number == CLIENT_HELLO => self.begin(Field::Length, 3),
            Field::Length if number > MAX_MESSAGE => Err(Rejected::TooLarge),
            Field::Length => {
                self.left = number;
                self.size = number + HEADER;
                self.begin(Field::LegacyVersion, 2)
            }
            Field::LegacyVersion if number >= SSL_3 => self.begin(Field::Random, 32),
            Field::Random => self.begin(Field::SessionIdLength, 1),
            Field::SessionIdLength if number <= MAX_SESSION_ID => {
                self.begin(Field::SessionId, number)
            }
            Field::SessionId => self.begin(Field::CipherSuitesLength, 2),
            Field::CipherSuitesLength if number > 0 && number.is_multiple_of(2) => {
                self.begin(Field::CipherSuites, number)
            }
            Field::CipherSuites => self.begin(Field::CompressionLength, 1),
            Field::CompressionLength if number > 0 => self.begin(Field::Compression, number),
            // A hello may end here: the oldest clients send no extensions.
            Field::Compression if self.left == 0 => return Ok(true),
            Field::Compression => self.begin(Field::ExtensionsLength, 2),
            Field::ExtensionsLength if number == self.left => return self.next_extension(),
            Field::ExtensionType => {
                self.note_extension()?;
                self.begin(Field::ExtensionLength, 2)
            }
            Field::ExtensionLength if self.extension == SERVER_NAME => {
                self.begin(Field::Extension, number)?;
                self.extension_end = self.left - number;
                self.begin(Field::NameListLength, 2)
            }
            Field::ExtensionLength => self.begin(Field::Extension, number),
            Field::Extension => return self.next_extension(),
            Field::NameListLength if number == self.extension_left() => {
                self.begin(Field::NameType, 1)
            }
            Field::NameType if number == HOST_NAME => self.begin(Field::NameLength, 2),
            Field::NameType => Err(Rejected::UnknownNameType(self.number.to_be_bytes()[3])),
            Field::NameLength => self.begin_name(),
            Field::Name => {
                let raw = &self.raw_name[..usize::from(self.raw_name_length)];
                match ServerName::normalise(raw) {
                    Ok(name) => self.server_name = Some(name),
                    Err(InvalidName::Address(_)) => self.address_for_name = true,
                    Err(why) => return Err(why.into()),
                }
                return self.next_extension();
            }
            field => Err(Rejected::Malformed(field.part())),
        }?;
        Ok(false)
    }

    /// Begins a field of `length` bytes, which what surrounds it must have.
    fn begin(&mut self, field: Field, length: u32) -> Result<(), Rejected> {
        let room = match field {
            Field::NameListLength | Field::NameType | Field::NameLength | Field::Name => {
                self.extension_left()
            }
            _ => self.left,
        };
        if length > room {
            return Err(Rejected::Malformed(field.part()));
        }
        self.field = field;
        self.field_left = length;
        self.number = 0;
        Ok(())
    }

    fn next_extension(&mut self) -> Result<bool, Rejected> {
        if self.left == 0 {
            return Ok(true);
        }
        self.begin(Field::ExtensionType, 2)?;
        Ok(false)
    }

    fn note_extension(&mut self) -> Result<(), Rejected> {
        let [_, _, high, low] = self.number.to_be_bytes();
        self.extension = u16::from_be_bytes([high, low]);
        let again = if self.extension == ENCRYPTED_CLIENT_HELLO {
            std::mem::replace(&mut self.ech_offered, true)
        } else {
            // Types from 64 are not worth their memory: none of them can change the name.
            let bit = 1_u64.checked_shl(self.number).unwrap_or(0);
            let again = self.seen & bit != 0;
            self.seen |= bit;
            again
        };
        match self.extension {
            SERVER_NAME if again => Err(Rejected::DuplicateSni),
            extension if again => Err(Rejected::DuplicateExtension(extension)),
            _ => Ok(()),
        }
    }

    /// Bytes left of the server name extension.
    fn extension_left(&self) -> u32 {
        self.left.saturating_sub(self.extension_end)
    }

    fn begin_name(&mut self) -> Result<(), Rejected> {
        let length = self.number;
        if length < self.extension_left() {
            return Err(Rejected::SeveralNames);
        }
        self.begin(Field::Name, length)?;
        if length > MAX_RAW_NAME {
            return Err(InvalidName::TooLong.into());
        }
        Ok(())
    }
}
