//! Walking over records: varints, lengths, skips, over bytes in memory or over a stream that is
//! decompressed on the way.

use super::compression::DecompressError;

/// Why a record cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordFault {
    /// The records end inside a record.
    #[error("the records end in the middle of it")]
    Truncated,
    /// A varint longer than its type.
    #[error("it has a varint that does not end")]
    BadVarint,
    /// Its fields take more or fewer bytes than its length says.
    #[error("its length is {claimed}, its fields take {actual} bytes")]
    LengthMismatch {
        /// What the record says.
        claimed: i64,
        /// What its fields take.
        actual: usize,
    },
    /// A length that may not be negative.
    #[error("its {field} has the negative length {length}")]
    NegativeLength {
        /// Which length.
        field: &'static str,
        /// The value.
        length: i32,
    },
    /// The records that stay cannot be compressed anew.
    #[error("compressing it anew failed: {0}")]
    Compress(String),
    /// The bytes cannot be decompressed.
    #[error("{0}")]
    Decompress(#[from] DecompressError),
}

/// Somewhere to read records from.
pub trait Source {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, RecordFault>;
    /// Passes over some bytes.
    fn skip(&mut self, count: usize) -> Result<(), RecordFault>;
    /// How many bytes lie behind.
    fn position(&self) -> usize;
    /// Whether nothing is left.
    fn is_at_end(&mut self) -> Result<bool, RecordFault>;

    /// A zigzag varint of 32 bits.
    fn varint(&mut self) -> Result<i32, RecordFault> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(i32::from(first >> 1) ^ -i32::from(first & 1));
        }
        let mut value = u32::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i32 ^ -((value & 1) as i32));
            }
        }
        Err(RecordFault::BadVarint)
    }

    /// A zigzag varint of 64 bits.
    fn varlong(&mut self) -> Result<i64, RecordFault> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(RecordFault::BadVarint)
    }

    /// A length that may be negative, which stands for null.
    fn nullable_length(&mut self) -> Result<Option<usize>, RecordFault> {
        Ok(usize::try_from(self.varint()?).ok())
    }

    /// A length that may not be negative.
    fn length(&mut self, field: &'static str) -> Result<usize, RecordFault> {
        let length = self.varint()?;
        usize::try_from(length).map_err(|_| RecordFault::NegativeLength { field, length })
    }
}

/// Records that lie in memory.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, position: 0 }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], RecordFault> {
        let rest = &self.bytes[self.position..];
        let taken = rest.get(..count).ok_or(RecordFault::Truncated)?;
        self.position += count;
        Ok(taken)
    }

    /// Bytes or null.
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, RecordFault> {
        self.nullable_length()?
            .map(|length| self.take(length))
            .transpose()
    }
}

impl Source for Cursor<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordFault> {
        // Not `ok_or`: it would make and drop a fault for every byte.
        let Some(&byte) = self.bytes.get(self.position) else {
            return Err(RecordFault::Truncated);
        };
        self.position += 1;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, count: usize) -> Result<(), RecordFault> {
        if count > self.bytes.len() - self.position {
            return Err(RecordFault::Truncated);
        }
        self.position += count;
        Ok(())
    }

    fn position(&self) -> usize {
        self.position
    }

    fn is_at_end(&mut self) -> Result<bool, RecordFault> {
        Ok(self.position == self.bytes.len())
    }
}
