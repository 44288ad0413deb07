//! Snappy as Kafka's clients write it: Java and librdkafka in blocks with xerial's framing, some
//! others (kafka-go, kafkajs plugins) as one bare block.
//!
//! ```text
//! 0x82 "SNAPPY" 0 | version i32 | compatible version i32 | [length i32 | block]
//! ```
//! Streams that are glued together repeat the first 16 bytes.

use std::io::{self, Read};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const PREAMBLE_BYTES: usize = 16;
/// Block size of snappy-java's streams.
const BLOCK_BYTES: usize = 32 << 10;
/// A block's memory that is kept for the next batch; a bare block can be as large as the limit.
const KEPT_BYTES: usize = 1 << 20;
/// A copy of 64 bytes takes two bytes at least, so a block that claims more than this many times
/// its size is lying.
const MOST_EXPANSION: usize = 32;

/// Decompresses block by block.
pub(super) struct SnappyReader<'a> {
    rest: &'a [u8],
    is_framed: bool,
    block: &'a mut Vec<u8>,
    position: usize,
    bytes_left: usize,
}

impl<'a> SnappyReader<'a> {
    /// Reads at most about `limit` bytes; `block` is used again for block after block.
    pub(super) fn new(
        compressed: &'a [u8],
        limit: usize,
        block: &'a mut Vec<u8>,
    ) -> SnappyReader<'a> {
        block.clear();
        let is_framed = compressed.starts_with(&MAGIC);
        SnappyReader {
            rest: compressed,
            is_framed,
            block,
            position: 0,
            bytes_left: limit,
        }
    }

    /// The next compressed block, none at the end.
    fn next_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if !self.is_framed {
            let block = std::mem::take(&mut self.rest);
            return Ok((!block.is_empty()).then_some(block));
        }
        while self.rest.starts_with(&MAGIC) {
            self.take(PREAMBLE_BYTES)?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let length = self.take(4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        self.take(length as usize).map(Some)
    }

    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        self.rest = rest;
        Ok(taken)
    }

    fn decompress(&mut self, compressed: &[u8]) -> io::Result<()> {
        let bytes = snap::raw::decompress_len(compressed).map_err(io::Error::other)?;
        if bytes > compressed.len().saturating_mul(MOST_EXPANSION) {
            return Err(io::Error::other(
                "a block claims more than snappy can put into it",
            ));
        }
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or(io::ErrorKind::FileTooLarge)?;
        self.position = 0;
        self.block.resize(bytes, 0);
        let written = snap::raw::Decoder::new().decompress(compressed, self.block);
        self.block.truncate(written.map_err(io::Error::other)?);
        Ok(())
    }
}

impl Drop for SnappyReader<'_> {
    fn drop(&mut self) {
        if self.block.capacity() > KEPT_BYTES {
            *self.block = Vec::new();
        }
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() {
            match self.next_block()? {
                Some(block) => self.decompress(block)?,
                None => return Ok(0),
            }
        }
        let ready = &self.block[self.position..];
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.position += count;
        Ok(count)
    }
}

/// Appends `records` in xerial's framing.
pub(super) fn compress(records: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    begin(output);
    append(records, output)
}

/// Appends what opens a stream.
pub(in super::super) fn begin(output: &mut Vec<u8>) {
    output.extend_from_slice(&MAGIC);
    output.extend_from_slice(&1u32.to_be_bytes());
    output.extend_from_slice(&1u32.to_be_bytes());
}

/// Appends `records` as blocks of an open stream.
pub(in super::super) fn append(records: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(BLOCK_BYTES) {
        let length_at = output.len();
        let room = snap::raw::max_compress_len(block.len());
        output.resize(length_at + 4 + room, 0);
        let written = encoder.compress(block, &mut output[length_at + 4..]);
        let written = written.map_err(io::Error::other)?;
        output.truncate(length_at + 4 + written);
        output[length_at..length_at + 4].copy_from_slice(&(written as u32).to_be_bytes());
    }
    Ok(())
}
