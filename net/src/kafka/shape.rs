//! The shape of the requests that the generated codec reads, as far as memory goes: where arrays
//! and tagged fields are. A walk over the bytes counts them before anything is allocated.
//!
//! The codec caps what it reserves for an array by the bytes that are left, but an element of one
//! or two bytes on the wire becomes 32 to 96 bytes in memory, and a claimed count of tagged fields
//! reserves 40 bytes for each byte of the frame: 100 MiB could ask for 4 GiB. After the walk a
//! request holds at most [`MAX_ELEMENTS`](super::primitives::MAX_ELEMENTS), some 40 MB at the
//! very worst, and its lengths are known to be true.

use bytes::Bytes;

use super::error::WireError;
use super::primitives::Reader;

/// A message or an array's element: its fields in order, tagged fields at the end.
pub type Shape = &'static [Part];

/// A field and the versions that have it.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    kind: Kind,
    from: i16,
    to: i16,
}

/// What a field is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A byte that is 0 or 1.
    Bool,
    /// So many bytes.
    Fixed(usize),
    /// A string.
    Text,
    /// A string that may be null from this version on.
    NullableText(i16),
    /// Bytes.
    Bytes,
    /// An array of structures.
    List(Shape),
    /// The same, or null.
    NullableList(Shape),
    /// An array of plain values.
    Values(&'static Kind),
    /// The same, or null.
    NullableValues(&'static Kind),
    /// A structure, or null.
    NullableStruct(Shape),
}

impl Part {
    /// A field of all versions.
    #[must_use]
    pub const fn always(kind: Kind) -> Part {
        Part {
            kind,
            from: 0,
            to: i16::MAX,
        }
    }

    /// A field from a version on.
    #[must_use]
    pub const fn since(from: i16, kind: Kind) -> Part {
        Part {
            kind,
            from,
            to: i16::MAX,
        }
    }

    /// A field of some versions.
    #[must_use]
    pub const fn within(from: i16, to: i16, kind: Kind) -> Part {
        Part { kind, from, to }
    }

    /// What the field is in a version, if that has it.
    #[must_use]
    pub fn in_version(&self, version: i16) -> Option<Kind> {
        (self.from <= version && version <= self.to).then_some(self.kind)
    }
}

/// Walks over a message; gives the bytes that it takes.
pub fn check(
    shape: Shape,
    body: &Bytes,
    version: i16,
    is_flexible: bool,
) -> Result<usize, WireError> {
    let mut reader = Reader::new(body, is_flexible);
    walk(shape, &mut reader, version)?;
    Ok(reader.position())
}

fn walk(shape: Shape, reader: &mut Reader<'_>, version: i16) -> Result<(), WireError> {
    for kind in shape.iter().filter_map(|part| part.in_version(version)) {
        walk_field(kind, reader, version)?;
    }
    reader.skip_tagged_fields()
}

/// The generated codec takes a null array for an empty one; Kafka takes it for nonsense.
fn present(count: Option<usize>) -> Result<usize, WireError> {
    count.ok_or(WireError::BadLength {
        field: "array or bytes",
        length: -1,
    })
}

/// Shapes are constants and at most three levels deep, so the recursion is as well.
fn walk_field(kind: Kind, reader: &mut Reader<'_>, version: i16) -> Result<(), WireError> {
    match kind {
        Kind::Bool => reader.skip("flag", 1),
        Kind::Fixed(bytes) => reader.skip("number", bytes),
        Kind::Text | Kind::NullableText(_) => reader.nullable_string("string").map(drop),
        Kind::Bytes => {
            let bytes = reader.nullable_bytes("bytes")?;
            present(bytes.map(|bytes| bytes.len())).map(drop)
        }
        Kind::List(shape) => {
            let count = present(reader.nullable_array("array", 1)?)?;
            (0..count).try_for_each(|_| walk(shape, reader, version))
        }
        Kind::NullableList(shape) => {
            let count = reader.nullable_array("array", 1)?;
            (0..count.unwrap_or(0)).try_for_each(|_| walk(shape, reader, version))
        }
        Kind::Values(kind) => {
            let count = present(reader.nullable_array("array", 1)?)?;
            (0..count).try_for_each(|_| walk_field(*kind, reader, version))
        }
        Kind::NullableValues(kind) => {
            let count = reader.nullable_array("array", 1)?;
            (0..count.unwrap_or(0)).try_for_each(|_| walk_field(*kind, reader, version))
        }
        // A byte before it says whether it is there.
        Kind::NullableStruct(shape) => match reader.i8("structure")? {
            ..0 => Ok(()),
            _ => walk(shape, reader, version),
        },
    }
}
