//! Kafka's codecs: gzip, snappy (in xerial's framing or bare), lz4 frames, zstd. Decompression is a
//! stream with a limit: what does not fit is refused before it takes memory.

use std::fmt;
use std::io::{self, Read, Write};

use bytes::Bytes;

pub(super) mod snappy;

use super::cursor::{RecordFault, Source};
use snappy::SnappyReader;

/// How a batch's records are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(i16)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

impl Codec {
    /// The attributes' bits that name the codec.
    pub const MASK: i16 = 0x07;

    /// The codec that a batch's attributes name, if it is one of Kafka's.
    #[must_use]
    pub fn from_attributes(attributes: i16) -> Option<Codec> {
        Some(match attributes & Codec::MASK {
            0 => Codec::None,
            1 => Codec::Gzip,
            2 => Codec::Snappy,
            3 => Codec::Lz4,
            4 => Codec::Zstd,
            _ => return None,
        })
    }

    /// Kafka's name of the codec, as in `compression.type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Codec {
    type Err = UnknownCodecName;

    fn from_str(name: &str) -> Result<Codec, UnknownCodecName> {
        [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ]
        .into_iter()
        .find(|codec| codec.name() == name)
        .ok_or_else(|| UnknownCodecName {
            name: name.to_owned(),
        })
    }
}

/// A codec's name that is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{name}` is no codec: use none, gzip, snappy, lz4 or zstd")]
pub struct UnknownCodecName {
    name: String,
}

/// How far a batch may grow when it is decompressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecompressionLimits {
    /// Bytes of one batch at most.
    pub output_bytes: usize,
    /// Times its compressed size at most, once it is larger than `ratio_free_bytes`.
    pub ratio: usize,
    /// A batch up to here may have any ratio: zstd makes 100 bytes of a megabyte of constant
    /// records, which load tools like to send.
    pub ratio_free_bytes: usize,
}

impl Default for DecompressionLimits {
    fn default() -> DecompressionLimits {
        DecompressionLimits {
            output_bytes: 128 << 20,
            ratio: 1024,
            ratio_free_bytes: 16 << 20,
        }
    }
}

impl DecompressionLimits {
    /// How many bytes `compressed` bytes may become.
    #[must_use]
    pub fn allowed(&self, compressed: usize) -> usize {
        compressed
            .saturating_mul(self.ratio)
            .max(self.ratio_free_bytes)
            .min(self.output_bytes)
    }
}

/// Why a batch cannot be decompressed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecompressError {
    /// Not what the codec writes.
    #[error("{codec} cannot decompress it: {reason}")]
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What the codec says.
        reason: String,
    },
    /// It grows beyond the limit.
    #[error("it grows beyond {limit} bytes when {codec} decompresses it: send smaller batches")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The limit.
        limit: usize,
    },
}

/// Bytes of the window through which compressed records are walked: half of L2, and the block size
/// of Java's lz4.
const WINDOW_BYTES: usize = 64 << 10;

/// The largest zstd window that is accepted, as a power of two: what level 22 uses. The memory is
/// only touched as far as output is made.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What one walk after the other uses again: the window, a block of snappy, zstd's state.
pub struct Scratch {
    window: Box<[u8]>,
    block: Vec<u8>,
    zstd: Option<zstd::zstd_safe::DCtx<'static>>,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch")
            .field("block_bytes", &self.block.capacity())
            .finish()
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

impl Scratch {
    /// A new one; each shard keeps one.
    #[must_use]
    pub fn new() -> Scratch {
        Scratch {
            window: vec![0; WINDOW_BYTES].into(),
            block: Vec::new(),
            zstd: None,
        }
    }

    /// Starts to decompress.
    pub(super) fn open<'a>(
        &'a mut self,
        codec: Codec,
        compressed: &'a [u8],
        limits: &DecompressionLimits,
    ) -> Result<Stream<'a>, DecompressError> {
        let limit = limits.allowed(compressed.len());
        let Scratch {
            window,
            block,
            zstd,
        } = self;
        let reader = open_reader(codec, compressed, limit, block, zstd)
            .map_err(|error| decompress_error(codec, limit, &error))?;
        Ok(Stream {
            codec,
            reader,
            window,
            start: 0,
            end: 0,
            passed: 0,
            limit,
        })
    }

    /// A plain reader of compressed records that gives at most about `limit` bytes.
    pub(super) fn reader<'a>(
        &'a mut self,
        codec: Codec,
        compressed: &'a [u8],
        limit: usize,
    ) -> io::Result<Box<dyn Read + 'a>> {
        open_reader(codec, compressed, limit, &mut self.block, &mut self.zstd)
    }

    /// Decompresses a whole batch's records.
    pub fn decompress(
        &mut self,
        codec: Codec,
        compressed: &[u8],
        limits: &DecompressionLimits,
    ) -> Result<Bytes, DecompressError> {
        let limit = limits.allowed(compressed.len());
        let mut output = Vec::with_capacity(compressed.len().saturating_mul(3).min(limit));
        let result = open_reader(codec, compressed, limit, &mut self.block, &mut self.zstd)
            .and_then(|reader| reader.take(limit as u64 + 1).read_to_end(&mut output));
        result.map_err(|error| decompress_error(codec, limit, &error))?;
        if output.len() > limit {
            return Err(DecompressError::TooLarge { codec, limit });
        }
        Ok(output.into())
    }
}

fn open_reader<'a>(
    codec: Codec,
    compressed: &'a [u8],
    limit: usize,
    block: &'a mut Vec<u8>,
    zstd: &'a mut Option<zstd::zstd_safe::DCtx<'static>>,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match codec {
        Codec::None => Box::new(compressed),
        // Java reads several gzip members as one stream.
        Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(compressed)),
        Codec::Snappy => Box::new(SnappyReader::new(compressed, limit, block)),
        Codec::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(compressed)),
        Codec::Zstd => {
            let context = zstd.get_or_insert_with(zstd::zstd_safe::DCtx::create);
            context
                .reset(zstd::zstd_safe::ResetDirective::SessionAndParameters)
                .map_err(|code| io::Error::other(zstd::zstd_safe::get_error_name(code)))?;
            let mut decoder = zstd::stream::read::Decoder::with_context(compressed, context);
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

pub(super) fn decompress_error(codec: Codec, limit: usize, error: &io::Error) -> DecompressError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => DecompressError::TooLarge { codec, limit },
        _ => DecompressError::Corrupt {
            codec,
            reason: error.to_string(),
        },
    }
}

/// Records that are decompressed as they are walked.
pub(super) struct Stream<'a> {
    codec: Codec,
    reader: Box<dyn Read + 'a>,
    window: &'a mut [u8],
    start: usize,
    end: usize,
    /// Bytes that left the window.
    passed: usize,
    limit: usize,
}

impl Stream<'_> {
    /// Reads on once the window is used up; false at the end.
    fn refill(&mut self) -> Result<bool, RecordFault> {
        let (codec, limit) = (self.codec, self.limit);
        self.passed += self.end;
        (self.start, self.end) = (0, 0);
        if self.passed > limit {
            return Err(DecompressError::TooLarge { codec, limit }.into());
        }
        let read = loop {
            match self.reader.read(self.window) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.end = read.map_err(|error| decompress_error(codec, limit, &error))?;
        Ok(self.end > 0)
    }
}

impl Source for Stream<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordFault> {
        if self.start == self.end && !self.refill()? {
            return Err(RecordFault::Truncated);
        }
        let byte = self.window[self.start];
        self.start += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut count: usize) -> Result<(), RecordFault> {
        loop {
            let here = count.min(self.end - self.start);
            self.start += here;
            count -= here;
            if count == 0 {
                return Ok(());
            }
            if !self.refill()? {
                return Err(RecordFault::Truncated);
            }
        }
    }

    fn position(&self) -> usize {
        self.passed + self.start
    }

    /// Also reads the codec's end, where some have a checksum.
    fn is_at_end(&mut self) -> Result<bool, RecordFault> {
        Ok(self.start == self.end && !self.refill()?)
    }
}

/// Appends the compressed form of `records` to `output`.
pub(super) fn compress(codec: Codec, records: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    match codec {
        Codec::None => output.extend_from_slice(records),
        Codec::Gzip => {
            let level = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(output, level);
            encoder.write_all(records)?;
            encoder.finish()?;
        }
        Codec::Snappy => snappy::compress(records, output)?,
        Codec::Lz4 => {
            let mut encoder = lz4_frame(output);
            encoder.write_all(records)?;
            encoder.finish().map_err(io::Error::other)?;
        }
        Codec::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(output, 3)?;
            encoder.write_all(records)?;
            encoder.finish()?;
        }
    }
    Ok(())
}

/// What Java writes: independent blocks of 64 KiB, no checksums of the content.
pub(super) fn lz4_frame<W: Write>(output: W) -> lz4_flex::frame::FrameEncoder<W> {
    let mut info = lz4_flex::frame::FrameInfo::new();
    info.block_size = lz4_flex::frame::BlockSize::Max64KB;
    lz4_flex::frame::FrameEncoder::with_frame_info(info, output)
}
