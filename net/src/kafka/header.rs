//! The header of requests and responses, and the frame around a message.
//!
//! ```text
//! request  | size i32 | key i16 | version i16 | correlation i32 | client id | tags (v2) | body
//! response | size i32 | correlation i32 | tags (v1) | body
//! ```
//! The client id keeps its 16-bit length in header v2. ApiVersions answers with header v0 in all
//! versions, since a client that sent too high a version could not tell where the body starts.

use bytes::{BufMut, Bytes, BytesMut};

use super::KafkaString;
use super::api::Message;
use super::error::WireError;
use super::primitives::{Reader, Writer};
use super::versions::{ApiKey, ApiRange, range_of};

/// A request's header.
#[derive(Clone, Debug)]
pub struct RequestHeader {
    /// The API and its served versions.
    pub api: &'static ApiRange,
    /// The version of the request and its answer.
    pub version: i16,
    /// What the answer has to repeat.
    pub correlation_id: i32,
    /// How the client calls itself.
    pub client_id: Option<KafkaString>,
}

/// A request: its header, and the body as a slice of the frame.
#[derive(Clone, Debug)]
pub struct Request {
    /// The header.
    pub header: RequestHeader,
    /// What follows it.
    pub body: Bytes,
    /// An ApiVersions request above our highest version: the body must not be parsed, and the
    /// answer is version 0 with `UNSUPPORTED_VERSION` and our ranges.
    pub version_too_new: bool,
}

/// A request that cannot be answered: Kafka closes the connection without a word.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// An API that is not served.
    #[error("API key {key} (version {version}) is not served")]
    UnknownApi {
        /// The number on the wire.
        key: i16,
        /// The version on the wire.
        version: i16,
    },
    /// A version that is not served.
    #[error("{api:?} version {version} is not served: versions {min} to {max} are")]
    UnsupportedVersion {
        /// Which API.
        api: ApiKey,
        /// The version on the wire.
        version: i16,
        /// Lowest served.
        min: i16,
        /// Highest served.
        max: i16,
    },
    /// The header itself is broken.
    #[error("the request header is broken: {0}")]
    Wire(#[from] WireError),
}

/// Parses a frame (without its size) into header and body.
pub fn parse_request(frame: &Bytes) -> Result<Request, HeaderError> {
    let mut reader = Reader::new(frame, true);
    let key = reader.i16("api key")?;
    let version = reader.i16("api version")?;
    let api = range_of(key).ok_or(HeaderError::UnknownApi { key, version })?;
    let version_too_new = api.key == ApiKey::ApiVersions && version > api.max;
    if !api.serves(version) && !version_too_new {
        let ApiRange {
            key: api, min, max, ..
        } = *api;
        return Err(HeaderError::UnsupportedVersion {
            api,
            version,
            min,
            max,
        });
    }
    let correlation_id = reader.i32("correlation id")?;
    let client_id = reader.short_nullable_string("client id")?;
    if api.is_flexible(version) {
        reader.skip_tagged_fields()?;
    }
    let header = RequestHeader {
        api,
        version,
        correlation_id,
        client_id,
    };
    Ok(Request {
        header,
        body: reader.rest(),
        version_too_new,
    })
}

/// Starts a request frame: room for the size, then the header.
#[must_use]
pub fn begin_request(
    api: &ApiRange,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    capacity: usize,
) -> Writer {
    let mut buffer = BytesMut::with_capacity(capacity + 32);
    buffer.put_i32(0);
    buffer.put_i16(api.key as i16);
    buffer.put_i16(version);
    buffer.put_i32(correlation_id);
    let mut header = Writer::new(buffer, false);
    header.nullable_string(client_id);
    let mut writer = Writer::new(header.buffer, api.is_flexible(version));
    writer.no_tagged_fields();
    writer
}

/// Starts a response frame: room for the size, then the header.
#[must_use]
pub fn begin_response(
    api: &ApiRange,
    version: i16,
    correlation_id: i32,
    capacity: usize,
) -> Writer {
    let mut buffer = BytesMut::with_capacity(capacity + 9);
    buffer.put_i32(0);
    buffer.put_i32(correlation_id);
    let mut writer = Writer::new(buffer, api.is_flexible(version));
    if api.key != ApiKey::ApiVersions {
        writer.no_tagged_fields();
    }
    writer
}

/// Writes the size into a begun frame; `outside` is what follows the buffer in other slices.
pub fn finish_frame(writer: Writer, outside: usize) -> Result<Bytes, WireError> {
    let mut buffer = writer.buffer;
    let bytes = buffer.len() - 4 + outside;
    let Ok(size) = i32::try_from(bytes) else {
        return Err(WireError::TooLong {
            bytes,
            max: i32::MAX as usize,
        });
    };
    buffer[..4].copy_from_slice(&size.to_be_bytes());
    Ok(buffer.freeze())
}

/// A whole response frame, with its size, for a message of the generated codec.
pub fn encode_response(
    api: &ApiRange,
    version: i16,
    correlation_id: i32,
    body: &impl Message,
) -> Result<Bytes, WireError> {
    let mut writer = begin_response(api, version, correlation_id, 256);
    body.write(&mut writer.buffer, version)?;
    finish_frame(writer, 0)
}

/// A whole request frame, with its size, for a message of the generated codec.
pub fn encode_request(
    api: &ApiRange,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &impl Message,
) -> Result<Bytes, WireError> {
    let mut writer = begin_request(api, version, correlation_id, client_id, 256);
    body.write(&mut writer.buffer, version)?;
    finish_frame(writer, 0)
}

/// A response frame (without its size) parted into correlation id and body.
pub fn parse_response(
    api: &ApiRange,
    version: i16,
    frame: &Bytes,
) -> Result<(i32, Bytes), WireError> {
    let flexible = api.is_flexible(version) && api.key != ApiKey::ApiVersions;
    let mut reader = Reader::new(frame, flexible);
    let correlation_id = reader.i32("correlation id")?;
    reader.skip_tagged_fields()?;
    Ok((correlation_id, reader.rest()))
}
