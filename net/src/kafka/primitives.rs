//! Kafka's primitive types: a reader that walks a frame in place and hands out slices of it, and a
//! writer for the flexible and the older encoding. Every length is held against the bytes that are
//! left before anything is allocated for it.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::WireError;
use super::{KafkaString, KafkaUuid};

/// Most array elements and tagged fields in one message. The largest honest message is a fetch or
/// produce over all partitions of a node (some thousands) or a Metadata request naming every topic
/// (tens of thousands). Kafka 4.4 stops at 1,000,000, at which one request could hold 100 MB.
pub const MAX_ELEMENTS: usize = 131_072;

/// The longest string. A compact length could say more, but what comes in with one may have to be
/// written with a 16-bit length: into an older version's answer, or into a log. Kafka refuses it
/// too.
pub const MAX_STRING_BYTES: usize = i16::MAX as usize;

/// Reads one message out of a frame, without copying.
#[derive(Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    position: usize,
    flexible: bool,
    elements_left: usize,
}

impl<'a> Reader<'a> {
    /// Reads `frame` from its start; `flexible` chooses compact lengths and tagged fields.
    #[must_use]
    pub fn new(frame: &'a Bytes, flexible: bool) -> Reader<'a> {
        Reader {
            frame,
            position: 0,
            flexible,
            elements_left: MAX_ELEMENTS,
        }
    }

    /// Where the next field starts.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> Bytes {
        self.frame.slice(self.position..)
    }

    /// Fails if bytes are left over.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            count => Err(WireError::TrailingBytes { count }),
        }
    }

    fn left(&self) -> usize {
        self.frame.len() - self.position
    }

    /// The next `count` bytes, borrowed.
    fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], WireError> {
        let (position, left) = (self.position, self.left());
        if count > left {
            return Err(WireError::Truncated {
                field,
                needed: count,
                position,
                left,
            });
        }
        self.position += count;
        Ok(&self.frame[position..position + count])
    }

    fn take_array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    /// Passes over some bytes.
    pub fn skip(&mut self, field: &'static str, count: usize) -> Result<(), WireError> {
        self.take(field, count).map(drop)
    }

    /// A signed byte.
    pub fn i8(&mut self, field: &'static str) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.take_array(field)?))
    }

    /// A signed 16-bit integer.
    pub fn i16(&mut self, field: &'static str) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.take_array(field)?))
    }

    /// A signed 32-bit integer.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.take_array(field)?))
    }

    /// A signed 64-bit integer.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.take_array(field)?))
    }

    /// A UUID.
    pub fn uuid(&mut self, field: &'static str) -> Result<KafkaUuid, WireError> {
        let bytes: [u8; 16] = self.take_array(field)?;
        Ok(KafkaUuid::from_uuid(uuid::Uuid::from_bytes(bytes)))
    }

    /// An unsigned varint of at most 32 bits.
    pub fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, WireError> {
        let start = self.position;
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take_array(field)?;
            // The fifth byte has room for four bits: more would be lost without a word.
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::BadVarint { position: start })
    }

    /// The length of a nullable bytes or array field, in whichever encoding is in force.
    fn length_32(&mut self, field: &'static str) -> Result<Option<u32>, WireError> {
        if self.flexible {
            return Ok(self.unsigned_varint(field)?.checked_sub(1));
        }
        match self.i32(field)? {
            -1 => Ok(None),
            length => match u32::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(WireError::BadLength {
                    field,
                    length: length.into(),
                }),
            },
        }
    }

    /// A string or null.
    pub fn nullable_string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<KafkaString>, WireError> {
        if self.flexible {
            let Some(length) = self.unsigned_varint(field)?.checked_sub(1) else {
                return Ok(None);
            };
            return self.string_of(field, length as usize).map(Some);
        }
        self.short_nullable_string(field)
    }

    /// A string or null with a 16-bit length, which the request header keeps even in its
    /// flexible version.
    pub fn short_nullable_string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<KafkaString>, WireError> {
        match self.i16(field)? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => self.string_of(field, length).map(Some),
                Err(_) => Err(WireError::BadLength {
                    field,
                    length: length.into(),
                }),
            },
        }
    }

    /// A string.
    pub fn string(&mut self, field: &'static str) -> Result<KafkaString, WireError> {
        self.nullable_string(field)?
            .ok_or(WireError::BadLength { field, length: -1 })
    }

    fn string_of(&mut self, field: &'static str, length: usize) -> Result<KafkaString, WireError> {
        if length > MAX_STRING_BYTES {
            return Err(WireError::BadLength {
                field,
                length: i64::try_from(length).unwrap_or(i64::MAX),
            });
        }
        let bytes = self.slice_of(field, length)?;
        KafkaString::new(bytes).map_err(|_| WireError::NotUtf8 { field })
    }

    fn slice_of(&mut self, field: &'static str, length: usize) -> Result<Bytes, WireError> {
        let start = self.position;
        self.take(field, length)?;
        Ok(self.frame.slice(start..self.position))
    }

    /// Bytes or null: a slice that keeps the frame alive.
    pub fn nullable_bytes(&mut self, field: &'static str) -> Result<Option<Bytes>, WireError> {
        match self.length_32(field)? {
            None => Ok(None),
            Some(length) => self.slice_of(field, length as usize).map(Some),
        }
    }

    /// The length of an array or null, held against what the rest of the frame can contain when
    /// each element takes at least `element_bytes`, and against [`MAX_ELEMENTS`].
    pub fn nullable_array(
        &mut self,
        field: &'static str,
        element_bytes: usize,
    ) -> Result<Option<usize>, WireError> {
        let Some(claimed) = self.length_32(field)? else {
            return Ok(None);
        };
        let (left, count) = (self.left(), claimed as usize);
        let possible = left / element_bytes.max(1);
        if count > possible {
            return Err(WireError::ArrayTooLong {
                field,
                claimed,
                possible,
                left,
            });
        }
        self.count_elements(count)?;
        Ok(Some(count))
    }

    /// As [`Reader::nullable_array`], for arrays that may not be null.
    pub fn array(&mut self, field: &'static str, element_bytes: usize) -> Result<usize, WireError> {
        self.nullable_array(field, element_bytes)?
            .ok_or(WireError::BadLength { field, length: -1 })
    }

    fn count_elements(&mut self, count: usize) -> Result<(), WireError> {
        match self.elements_left.checked_sub(count) {
            Some(left) => self.elements_left = left,
            None => {
                return Err(WireError::TooManyElements {
                    limit: MAX_ELEMENTS,
                });
            }
        }
        Ok(())
    }

    /// Tagged fields, where the version has them: `visit` gets each tag with a reader of its
    /// content; a tag it does not know it ignores.
    pub fn tagged_fields(
        &mut self,
        mut visit: impl FnMut(u32, &mut Reader<'_>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.unsigned_varint("tagged fields")? as usize;
        if count == 0 {
            return Ok(());
        }
        self.count_elements(count)?;
        let mut previous = None;
        for _ in 0..count {
            let tag = self.unsigned_varint("tag")?;
            if let Some(previous) = previous.filter(|&previous| previous >= tag) {
                return Err(WireError::TagOrder { tag, previous });
            }
            previous = Some(tag);
            let size = self.unsigned_varint("tagged field's size")? as usize;
            let content = self.slice_of("tagged field", size)?;
            let mut reader = Reader::new(&content, true);
            reader.elements_left = self.elements_left;
            visit(tag, &mut reader)?;
            self.elements_left = reader.elements_left;
        }
        Ok(())
    }

    /// Tagged fields of which none is known.
    pub fn skip_tagged_fields(&mut self) -> Result<(), WireError> {
        self.tagged_fields(|_, _| Ok(()))
    }
}

/// Writes one message in the flexible or the older encoding.
#[derive(Debug)]
pub struct Writer {
    /// What is written so far.
    pub buffer: BytesMut,
    flexible: bool,
}

impl Writer {
    /// Writes behind what `buffer` holds.
    #[must_use]
    pub fn new(buffer: BytesMut, flexible: bool) -> Writer {
        Writer { buffer, flexible }
    }

    /// A signed byte.
    pub fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    /// A signed 16-bit integer.
    pub fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    /// A signed 32-bit integer.
    pub fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    /// A signed 64-bit integer.
    pub fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    /// A UUID.
    pub fn uuid(&mut self, value: KafkaUuid) {
        self.buffer.put_slice(&value.to_bytes());
    }

    /// An unsigned varint.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// A string or null.
    ///
    /// # Panics
    /// When the string is longer than 32,767 bytes: names and messages here are ours, and shorter.
    pub fn nullable_string(&mut self, value: Option<&str>) {
        let length = value.map_or(0, str::len);
        assert!(
            length <= MAX_STRING_BYTES,
            "a string of {length} bytes does not fit its field"
        );
        match (self.flexible, value) {
            (true, None) => self.buffer.put_u8(0),
            (true, Some(_)) => self.unsigned_varint(length as u32 + 1),
            (false, None) => self.buffer.put_i16(-1),
            (false, Some(_)) => self.buffer.put_i16(length as i16),
        }
        self.buffer.put_slice(value.unwrap_or_default().as_bytes());
    }

    /// A string.
    pub fn string(&mut self, value: &str) {
        self.nullable_string(Some(value));
    }

    /// The length of a bytes field or an array; the content is for the caller to write.
    ///
    /// # Panics
    /// When it is 2 GiB or more: a frame that long cannot exist, so it is a bug of the caller.
    pub fn length(&mut self, length: Option<usize>) {
        assert!(
            length.unwrap_or(0) < i32::MAX as usize,
            "{length:?} does not fit a length"
        );
        match (self.flexible, length) {
            (true, None) => self.buffer.put_u8(0),
            (true, Some(length)) => self.unsigned_varint(length as u32 + 1),
            (false, None) => self.buffer.put_i32(-1),
            (false, Some(length)) => self.buffer.put_i32(length as i32),
        }
    }

    /// Tagged fields, in rising order of their tags; nothing in versions without them.
    pub fn tagged_fields(&mut self, fields: &[(u32, BytesMut)]) {
        if !self.flexible {
            return;
        }
        self.unsigned_varint(fields.len() as u32);
        for (tag, content) in fields {
            self.unsigned_varint(*tag);
            self.unsigned_varint(content.len() as u32);
            self.buffer.put_slice(content);
        }
    }

    /// The empty set of tagged fields.
    pub fn no_tagged_fields(&mut self) {
        self.tagged_fields(&[]);
    }
}

/// Writes the content of one tagged field.
#[must_use]
pub fn tagged_content(write: impl FnOnce(&mut Writer)) -> BytesMut {
    let mut writer = Writer::new(BytesMut::new(), true);
    write(&mut writer);
    writer.buffer
}
