//! Giving a producer's batch another codec (a topic's `compression.type`), in steps: whoever calls
//! decides how long it goes on before others get a turn. Neither input nor output is ever held
//! uncompressed as a whole, unless the wanted codec is none, and the output is bounded.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::compression::{Codec, DecompressError, DecompressionLimits, Scratch};
use super::compression::{decompress_error, lz4_frame, snappy};
use super::header::{BATCH_HEADER_BYTES, LENGTH_OVERHEAD, set_codec, set_length, store_crc};

/// What one step takes in: some milliseconds for the slowest codec at its highest level.
const STEP_BYTES: usize = 32 << 10;

/// Above this level zstd gathers more than a step's input and then thinks about it for longer than
/// a step may take: each step is flushed.
const ZSTD_PATIENT_LEVEL: i32 = 9;

/// zstd's highest levels ask for hundreds of megabytes; with this window it is some ten.
const ZSTD_WINDOW_LOG: u32 = 21;

/// The codec that a batch shall have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Which.
    pub codec: Codec,
    /// How hard it tries; `None`: its default. For gzip 1 to 9, for zstd up to 22.
    pub level: Option<i32>,
}

/// Why a batch cannot be given another codec.
#[derive(Debug, thiserror::Error)]
pub enum RecompressError {
    /// It cannot be read.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The new form is too large.
    #[error("it has more than {limit_bytes} bytes as {codec}")]
    TooLarge {
        /// The new codec.
        codec: Codec,
        /// What it may have.
        limit_bytes: usize,
    },
    /// The new codec failed.
    #[error("{codec} cannot compress it: {error}")]
    Compress {
        /// The new codec.
        codec: Codec,
        /// What it says.
        error: io::Error,
    },
}

/// A batch on its way to another codec.
pub struct Recompress<'a> {
    batch: &'a [u8],
    from: Codec,
    reader: Box<dyn Read + 'a>,
    read_limit: usize,
    target: Target,
    encoder: Encoder,
    limit_bytes: usize,
}

enum Encoder {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Snappy(Vec<u8>),
    Lz4(Box<lz4_flex::frame::FrameEncoder<Vec<u8>>>),
    Zstd {
        encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
        is_slow: bool,
    },
}

impl<'a> Recompress<'a> {
    /// Begins with a batch that was validated; `limit_bytes` is the most that the result may have.
    ///
    /// # Errors
    /// If one of the codecs cannot begin.
    pub fn new(
        batch: &'a [u8],
        from: Codec,
        target: Target,
        limit_bytes: usize,
        limits: &DecompressionLimits,
        scratch: &'a mut Scratch,
    ) -> Result<Recompress<'a>, RecompressError> {
        let (header, records) = batch.split_at(BATCH_HEADER_BYTES);
        let read_limit = limits.allowed(records.len());
        let reader = scratch
            .reader(from, records, read_limit)
            .map_err(|error| decompress_error(from, read_limit, &error))?;
        let codec = target.codec;
        let encoder = Encoder::new(target, header.to_vec())
            .map_err(|error| RecompressError::Compress { codec, error })?;
        Ok(Recompress {
            batch,
            from,
            reader,
            read_limit,
            target,
            encoder,
            limit_bytes,
        })
    }

    /// Goes on for some milliseconds at most; true when the records are through.
    ///
    /// # Errors
    /// [`RecompressError`]; the rest of it is then of no use.
    pub fn step(&mut self) -> Result<bool, RecompressError> {
        let codec = self.target.codec;
        let mut window = [0; STEP_BYTES];
        let mut filled = 0;
        let mut is_at_end = false;
        while filled < STEP_BYTES && !is_at_end {
            match self.reader.read(&mut window[filled..]) {
                Ok(0) => is_at_end = true,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(decompress_error(self.from, self.read_limit, &error).into());
                }
            }
        }
        self.encoder
            .take(&window[..filled])
            .map_err(|error| RecompressError::Compress { codec, error })?;
        self.check_size(self.encoder.written())?;
        Ok(is_at_end)
    }

    /// The batch in its new form, CRC and all.
    ///
    /// # Errors
    /// [`RecompressError`]
    pub fn finish(self) -> Result<Bytes, RecompressError> {
        let codec = self.target.codec;
        debug_assert!(self.batch.len() > BATCH_HEADER_BYTES, "it was validated");
        let limit_bytes = self.limit_bytes;
        let mut batch = self
            .encoder
            .finish()
            .map_err(|error| RecompressError::Compress { codec, error })?;
        if batch.len() > limit_bytes {
            return Err(RecompressError::TooLarge { codec, limit_bytes });
        }
        set_codec(&mut batch, codec);
        let length = batch.len() - LENGTH_OVERHEAD;
        set_length(&mut batch, length as i32);
        store_crc(&mut batch);
        Ok(batch.into())
    }

    fn check_size(&self, bytes: usize) -> Result<(), RecompressError> {
        let (codec, limit_bytes) = (self.target.codec, self.limit_bytes);
        if bytes > limit_bytes {
            return Err(RecompressError::TooLarge { codec, limit_bytes });
        }
        Ok(())
    }
}

impl Encoder {
    /// An encoder that writes behind the batch's header.
    fn new(target: Target, mut header: Vec<u8>) -> io::Result<Encoder> {
        Ok(match target.codec {
            Codec::None => Encoder::None(header),
            Codec::Gzip => {
                let level = target.level.and_then(|level| u32::try_from(level).ok());
                let level = level.map_or_else(Default::default, flate2::Compression::new);
                Encoder::Gzip(flate2::write::GzEncoder::new(header, level))
            }
            Codec::Snappy => {
                snappy::begin(&mut header);
                Encoder::Snappy(header)
            }
            Codec::Lz4 => Encoder::Lz4(Box::new(lz4_frame(header))),
            Codec::Zstd => {
                let level = target.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                let mut encoder = zstd::stream::write::Encoder::new(header, level)?;
                let is_slow = level > ZSTD_PATIENT_LEVEL;
                if is_slow {
                    encoder.window_log(ZSTD_WINDOW_LOG)?;
                }
                Encoder::Zstd { encoder, is_slow }
            }
        })
    }

    fn take(&mut self, records: &[u8]) -> io::Result<()> {
        match self {
            Encoder::None(output) => {
                output.extend_from_slice(records);
                Ok(())
            }
            Encoder::Gzip(encoder) => encoder.write_all(records),
            Encoder::Snappy(output) => snappy::append(records, output),
            Encoder::Lz4(encoder) => encoder.write_all(records),
            Encoder::Zstd { encoder, is_slow } => {
                encoder.write_all(records)?;
                if *is_slow { encoder.flush() } else { Ok(()) }
            }
        }
    }

    fn written(&self) -> usize {
        match self {
            Encoder::None(output) | Encoder::Snappy(output) => output.len(),
            Encoder::Gzip(encoder) => encoder.get_ref().len(),
            Encoder::Lz4(encoder) => encoder.get_ref().len(),
            Encoder::Zstd { encoder, .. } => encoder.get_ref().len(),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::None(output) | Encoder::Snappy(output) => Ok(output),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Encoder::Zstd { encoder, .. } => encoder.finish(),
        }
    }
}
