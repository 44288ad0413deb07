//! What can go wrong between bytes and messages, and Kafka's own error codes by name.

/// Every error code of Kafka 4.3 by name; `code()` gives the number on the wire.
pub use kacrab_protocol::generated::ErrorCode;

/// A message that cannot be read from, or written to, the wire.
///
/// Reading errors mean that the peer sent nonsense: the connection is to be closed, since the
/// place of the next field is lost.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A field needs more bytes than the frame has left.
    #[error("{field} needs {needed} bytes at position {position}, but only {left} are left")]
    Truncated {
        /// What was being read.
        field: &'static str,
        /// Bytes the field needs.
        needed: usize,
        /// Where in the message.
        position: usize,
        /// Bytes the message still has.
        left: usize,
    },
    /// An array claims more elements than the rest of the frame could hold.
    #[error("{field} claims {claimed} elements, but the {left} bytes left hold at most {possible}")]
    ArrayTooLong {
        /// Which array.
        field: &'static str,
        /// The length on the wire.
        claimed: u32,
        /// How many the rest of the frame could hold.
        possible: usize,
        /// Bytes the message still has.
        left: usize,
    },
    /// More elements in one message than any client needs.
    #[error("the message holds more than {limit} elements: split the request")]
    TooManyElements {
        /// The bound that was passed.
        limit: usize,
    },
    /// A length below what its field allows.
    #[error("{field} has length {length}, which is not allowed")]
    BadLength {
        /// Which field.
        field: &'static str,
        /// The length on the wire.
        length: i64,
    },
    /// A varint longer than its type.
    #[error("a varint at position {position} does not end where its type ends")]
    BadVarint {
        /// Where in the message.
        position: usize,
    },
    /// A string that is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// Which field.
        field: &'static str,
    },
    /// Tagged fields out of order.
    #[error("tag {tag} comes after tag {previous}: tags must rise")]
    TagOrder {
        /// The tag that is out of order.
        tag: u32,
        /// The one before it.
        previous: u32,
    },
    /// Bytes after the end of a message.
    #[error("{count} bytes follow the end of the message")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A version this code does not speak.
    #[error("API {key} version {version} is not spoken here")]
    Version {
        /// The API's number.
        key: i16,
        /// The version asked for.
        version: i16,
    },
    /// A topic named by name where the version wants an id, or the other way round.
    #[error("version {version} names topics by {wanted}")]
    TopicNaming {
        /// The version of the message.
        version: i16,
        /// What it wants.
        wanted: &'static str,
    },
    /// A message too long for the protocol's 32-bit lengths.
    #[error("a message of {bytes} bytes does not fit a frame: at most {max}")]
    TooLong {
        /// The length it would have.
        bytes: usize,
        /// The largest possible.
        max: usize,
    },
    /// The generated codec refused the message.
    #[error(transparent)]
    Codec(#[from] kacrab_protocol::ProtocolError),
}
