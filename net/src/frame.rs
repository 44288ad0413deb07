//! Frames: a size of four bytes, then that many. Small ones come out of the reactor's shared
//! buffers, copied once and many at a time; a large one is received straight into its own memory,
//! after the memory plan has agreed to it.
//!
//! A size is a claim of the peer's: it is held against the limit before anything is allocated, and
//! a frame that has begun must end within its time, or the peer loses the connection.

use std::future::Future;
use std::io;
use std::ops::Deref;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::reactor::{Received, TcpStream, timeout};

/// Bytes of the size field.
const SIZE_BYTES: usize = 4;

/// Frames up to here are put together from the shared buffers. Above, one more system call costs
/// less than the copy, and the bytes have to be in the memory plan.
pub const SMALL_FRAME_BYTES: usize = 32 << 10;

/// The largest frame before a client has said who it is: an ApiVersions or a SASL exchange.
pub const UNAUTHENTICATED_FRAME_BYTES: usize = 64 << 10;

/// The slowest sender that is waited for, once its frame's time is up.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;

/// A large frame's sender is held to that step by step: with one deadline for the whole, one that
/// has stopped would keep the memory of a hundred megabytes for half an hour.
const STEP_BYTES: usize = 1 << 20;

/// What a connection accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameLimits {
    /// The largest frame, without its size field.
    pub frame_bytes: usize,
    /// How long a frame may take from its first byte on; large ones get the time that a slow line
    /// needs on top.
    pub patience: Duration,
}

impl Default for FrameLimits {
    /// Kafka's `socket.request.max.bytes`, and half a minute.
    fn default() -> FrameLimits {
        FrameLimits {
            frame_bytes: 100 << 20,
            patience: Duration::from_secs(30),
        }
    }
}

/// Why a connection cannot be read any further: close it.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A size below zero.
    #[error("the frame's size is {size}: the peer does not speak Kafka, or not without TLS")]
    Negative {
        /// The value.
        size: i32,
    },
    /// A size above the limit.
    #[error(
        "the frame has {size} bytes, the limit is {limit}: send less at once, or raise \
         socket.request.max.bytes"
    )]
    TooLarge {
        /// The value.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The stream ends inside a frame.
    #[error("the connection ended {missing} bytes before the end of a frame")]
    CutOff {
        /// How many bytes did not come; the least possible if the size did not come either.
        missing: usize,
    },
    /// The peer sends too slowly.
    #[error("a frame of {size} bytes has not come within {waited:?}")]
    TooSlow {
        /// The frame's size, or 0 if even that did not come.
        size: usize,
        /// How long it had.
        waited: Duration,
    },
    /// The socket failed.
    #[error("receiving failed: {0}")]
    Io(#[from] io::Error),
}

/// Where bytes come from: a socket, or what a cipher makes of one.
pub trait Source {
    /// Bytes that came; none at the end.
    type Chunk: Deref<Target = [u8]>;
    /// The bytes that come next.
    fn receive(&self) -> impl Future<Output = io::Result<Self::Chunk>>;
    /// Receives until the buffer has that length, or the stream ends.
    fn receive_into(
        &self,
        buffer: BytesMut,
        until_len: usize,
    ) -> impl Future<Output = (io::Result<usize>, BytesMut)>;
}

impl Source for TcpStream {
    type Chunk = Received;

    fn receive(&self) -> impl Future<Output = io::Result<Received>> {
        TcpStream::receive(self)
    }

    fn receive_into(
        &self,
        buffer: BytesMut,
        until_len: usize,
    ) -> impl Future<Output = (io::Result<usize>, BytesMut)> {
        TcpStream::receive_into(self, buffer, until_len)
    }
}

/// Says when there is memory for a large frame. What it gives belongs to the frame.
pub trait Reserve {
    /// Held as long as the frame is.
    type Lease;
    /// Completes when `bytes` may be allocated. Until then the peer is not read from.
    fn reserve(&self, bytes: usize) -> impl Future<Output = Self::Lease>;
}

/// Memory without a plan, for clients.
#[derive(Clone, Copy, Debug)]
pub struct Unplanned;

impl Reserve for Unplanned {
    type Lease = ();

    async fn reserve(&self, _bytes: usize) {}
}

/// A frame without its size field.
#[derive(Debug)]
pub struct Frame<L> {
    /// Its bytes. Frames that came together share their memory.
    pub bytes: Bytes,
    /// What [`Reserve`] gave for it, if it is a large one.
    pub lease: Option<L>,
}

/// Reads one connection's frames.
#[derive(Debug)]
pub struct FrameReader {
    limits: FrameLimits,
    /// Bytes that came and are not yet a whole frame.
    buffer: BytesMut,
}

impl FrameReader {
    /// Nothing read so far.
    #[must_use]
    pub fn new(limits: FrameLimits) -> FrameReader {
        FrameReader {
            limits,
            buffer: BytesMut::new(),
        }
    }

    /// Other limits from the next frame on, such as after authentication.
    pub fn set_limits(&mut self, limits: FrameLimits) {
        self.limits = limits;
    }

    /// The next frame if it is here already: no waiting, no system call.
    pub fn ready(&mut self) -> Result<Option<Bytes>, FrameError> {
        match self.size()? {
            Some(size) if self.buffer.len() >= SIZE_BYTES + size => {
                self.buffer.advance(SIZE_BYTES);
                Ok(Some(self.buffer.split_to(size).freeze()))
            }
            _ => Ok(None),
        }
    }

    /// The size of the frame that has begun, once it is known, and possible.
    fn size(&self) -> Result<Option<usize>, FrameError> {
        let Some(bytes) = self.buffer.first_chunk::<SIZE_BYTES>() else {
            return Ok(None);
        };
        let size = i32::from_be_bytes(*bytes);
        let limit = self.limits.frame_bytes;
        match usize::try_from(size) {
            Err(_) => Err(FrameError::Negative { size }),
            Ok(size) if size > limit => Err(FrameError::TooLarge { size, limit }),
            Ok(size) => Ok(Some(size)),
        }
    }

    fn take_in(&mut self, received: &[u8]) {
        // Memory that no frame holds any more is used again here.
        self.buffer.extend_from_slice(received);
    }

    /// What did not come of the frame that has begun.
    fn missing(&self) -> Result<usize, FrameError> {
        let size = self.size()?.unwrap_or(0);
        Ok((SIZE_BYTES + size).saturating_sub(self.buffer.len()))
    }

    fn patience(&self, size: usize) -> Duration {
        let line = Duration::from_millis(size as u64 * 1000 / SLOWEST_BYTES_PER_SECOND);
        self.limits.patience + line
    }
}

/// The next frame, or `None` at the end of the stream. After an error, or when the future is
/// dropped, the connection cannot be used any more.
pub async fn read_frame<S: Source, R: Reserve>(
    stream: &S,
    reader: &mut FrameReader,
    reserve: &R,
) -> Result<Option<Frame<R::Lease>>, FrameError> {
    if let Some(bytes) = reader.ready()? {
        return Ok(Some(Frame { bytes, lease: None }));
    }
    if reader.buffer.is_empty() {
        // Between frames a peer may be silent as long as it likes; the caller knows idleness.
        let received = stream.receive().await?;
        if received.is_empty() {
            return Ok(None);
        }
        reader.take_in(&received);
    }
    if reader.size()?.is_none() {
        let patience = reader.patience(0);
        let begun = timeout(patience, read_until(stream, reader, SIZE_BYTES)).await;
        begun.unwrap_or(Err(FrameError::TooSlow {
            size: 0,
            waited: patience,
        }))?;
    }
    let size = reader.size()?.unwrap_or(0);
    if size > SMALL_FRAME_BYTES {
        return read_large(stream, reader, reserve, size).await.map(Some);
    }
    if reader.missing()? > 0 {
        let patience = reader.patience(size);
        let rest = timeout(patience, read_until(stream, reader, SIZE_BYTES + size)).await;
        rest.unwrap_or(Err(FrameError::TooSlow {
            size,
            waited: patience,
        }))?;
    }
    let frame = reader.ready()?;
    Ok(frame.map(|bytes| Frame { bytes, lease: None }))
}

/// Receives until the buffer is `length` long or longer.
async fn read_until<S: Source>(
    stream: &S,
    reader: &mut FrameReader,
    length: usize,
) -> Result<(), FrameError> {
    while reader.buffer.len() < length {
        let received = stream.receive().await?;
        if received.is_empty() {
            return Err(FrameError::CutOff {
                missing: length - reader.buffer.len(),
            });
        }
        reader.take_in(&received);
    }
    Ok(())
}

/// A frame that gets memory of its own.
async fn read_large<S: Source, R: Reserve>(
    stream: &S,
    reader: &mut FrameReader,
    reserve: &R,
    size: usize,
) -> Result<Frame<R::Lease>, FrameError> {
    let lease = Some(reserve.reserve(size).await);
    reader.buffer.advance(SIZE_BYTES);
    let mut frame = BytesMut::with_capacity(size);
    let here = size.min(reader.buffer.len());
    frame.extend_from_slice(&reader.buffer.split_to(here));
    while frame.len() < size {
        let until = size.min(frame.len() + STEP_BYTES);
        let waited = reader.patience(until - frame.len());
        let receive = timeout(waited, stream.receive_into(frame, until)).await;
        let Ok((result, filled)) = receive else {
            return Err(FrameError::TooSlow { size, waited });
        };
        result?;
        if filled.len() < until {
            return Err(FrameError::CutOff {
                missing: size - filled.len(),
            });
        }
        frame = filled;
    }
    Ok(Frame {
        bytes: frame.freeze(),
        lease,
    })
}
