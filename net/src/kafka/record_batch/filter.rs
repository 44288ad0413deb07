//! Taking records out of a stored batch, as log compaction does: what stays keeps its offset, its
//! timestamp, its headers and its codec. The other way round than a client: nothing is added, and
//! plain records are copied as they are.

use bytes::{BufMut, Bytes, BytesMut};

use super::builder::put_varint;
use super::compression::{Codec, DecompressionLimits, Scratch, compress};
use super::cursor::{Cursor, RecordFault, Source};
use super::header::{BATCH_HEADER_BYTES, BatchHeader, LENGTH_OVERHEAD, NO_TIMESTAMP, store_crc};
use super::records::Records;
use super::validate::BatchError;

/// Set where the base timestamp is the time from which on tombstones may go (KIP-534).
const DELETE_HORIZON: i16 = 1 << 6;
const ATTRIBUTES_AT: usize = 21;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const COUNT_AT: usize = 57;

/// The batch with only those of its records for which `keep` holds, by their place in it. With a
/// horizon, that stands in place of the base timestamp, from which the records' timestamps count.
///
/// # Errors
/// If the batch cannot be read, or compressed anew.
pub fn filter(
    batch: &Bytes,
    keep: &[bool],
    delete_horizon_ms: Option<i64>,
    limits: &DecompressionLimits,
    scratch: &mut Scratch,
) -> Result<Bytes, BatchError> {
    let opened = Records::open(batch, limits, scratch)?;
    let header = BatchHeader::of(batch).ok_or(BatchError::Missing)?;
    let base = header.base_timestamp();
    let shift = delete_horizon_ms.map(|horizon| base.wrapping_sub(horizon));
    let mut kept = BytesMut::with_capacity(opened.bytes().len());
    let mut cursor = Cursor::new(opened.bytes());
    let (mut count, mut max_timestamp) = (0i32, NO_TIMESTAMP);
    for (index, keep) in (0..opened.count()).zip(keep) {
        let copied = copy_record(&mut cursor, *keep, shift, &mut kept);
        let delta = copied.map_err(|fault| BatchError::BadRecord { index, fault })?;
        if *keep {
            count += 1;
            max_timestamp = max_timestamp.max(base.wrapping_add(delta));
        }
    }
    let codec = header.codec().unwrap_or_default();
    let mut out = batch[..BATCH_HEADER_BYTES].to_vec();
    if codec == Codec::None {
        out.extend_from_slice(&kept);
    } else {
        let compressed = compress(codec, &kept, &mut out);
        compressed.map_err(|error| BatchError::BadRecord {
            index: 0,
            fault: RecordFault::Compress(error.to_string()),
        })?;
    }
    let length = (out.len() - LENGTH_OVERHEAD) as i32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    if let Some(horizon) = delete_horizon_ms {
        let attributes = header.attributes() | DELETE_HORIZON;
        out[ATTRIBUTES_AT..][..2].copy_from_slice(&attributes.to_be_bytes());
        out[BASE_TIMESTAMP_AT..][..8].copy_from_slice(&horizon.to_be_bytes());
    }
    if !header.is_log_append_time() {
        out[MAX_TIMESTAMP_AT..][..8].copy_from_slice(&max_timestamp.to_be_bytes());
    }
    out[COUNT_AT..][..4].copy_from_slice(&count.to_be_bytes());
    store_crc(&mut out);
    Ok(out.into())
}

/// Copies the next record if it is kept, its timestamp counted from a base `shift` earlier; returns
/// its timestamp's delta to the present base.
fn copy_record(
    cursor: &mut Cursor<'_>,
    keep: bool,
    shift: Option<i64>,
    out: &mut BytesMut,
) -> Result<i64, RecordFault> {
    let length = cursor.varint()?;
    let field = "record";
    let length =
        usize::try_from(length).map_err(|_| RecordFault::NegativeLength { field, length })?;
    let body = cursor.take(length)?;
    let mut fields = Cursor::new(body);
    let attributes = fields.byte()?;
    let delta = fields.varlong()?;
    if !keep {
        return Ok(delta);
    }
    match shift {
        None => {
            put_varint(out, length as i64);
            out.put_slice(body);
        }
        Some(shift) => {
            let mut head = BytesMut::new();
            head.put_u8(attributes);
            put_varint(&mut head, delta.wrapping_add(shift));
            let rest = &body[fields.position()..];
            put_varint(out, (head.len() + rest.len()) as i64);
            out.put_slice(&head);
            out.put_slice(rest);
        }
    }
    Ok(delta)
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, NewRecord, ProducerStamp};
    use super::*;

    const TIMES: [i64; 4] = [1_000_000_005, 1_000_000_000, 1_000_000_900, 1_000_000_100];

    fn batch(codec: Codec) -> Bytes {
        let mut builder = BatchBuilder::new(codec);
        for (n, timestamp) in TIMES.into_iter().enumerate() {
            builder.append(&NewRecord {
                timestamp,
                key: Some(&[n as u8]),
                value: Some(b"value").filter(|_| n != 3).map(|v| &v[..]),
                headers: &[("name", Some(b"v")), ("none", None)],
            });
        }
        let stamp = ProducerStamp {
            producer_id: 7,
            producer_epoch: 2,
            base_sequence: 40,
            is_transactional: false,
        };
        builder
            .finish(Some(stamp))
            .expect("a batch")
            .expect("records")
    }

    /// Offset, timestamp, key, whether it has a value, and how many headers.
    type Told = (i64, i64, Option<Vec<u8>>, bool, usize);

    fn told(batch: &Bytes) -> Vec<Told> {
        let limits = DecompressionLimits::default();
        let records = Records::open(batch, &limits, &mut Scratch::new()).expect("sound");
        let told = records.iter().map(|record| {
            let record = record.expect("a record");
            let (key, headers) = (record.key.map(<[u8]>::to_vec), record.headers.len());
            (
                record.offset,
                record.timestamp,
                key,
                record.value.is_some(),
                headers,
            )
        });
        told.collect()
    }

    #[test]
    fn what_stays_is_as_it_was_in_every_codec() {
        let limits = DecompressionLimits::default();
        for codec in [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ] {
            let before = batch(codec);
            for horizon in [None, Some(2_000_000_000_000), Some(5)] {
                let keep = [true, false, false, true];
                let after = filter(&before, &keep, horizon, &limits, &mut Scratch::new());
                let after = after.expect("filtered");
                let all = told(&before);
                assert_eq!(told(&after), [all[0].clone(), all[3].clone()], "{codec}");
                let header = BatchHeader::of(&after).expect("a header");
                assert_eq!(header.codec(), Some(codec));
                assert_eq!(header.last_offset_delta(), 3);
                assert_eq!((header.producer_id(), header.base_sequence()), (7, 40));
                assert_eq!(header.max_timestamp(), TIMES[3]);
                assert_eq!(header.total_bytes(), Some(after.len()));
                let is_set = header.attributes() & DELETE_HORIZON != 0;
                assert_eq!(is_set, horizon.is_some());
                assert_eq!(header.base_timestamp(), horizon.unwrap_or(TIMES[0]));
            }
        }
    }

    #[test]
    fn append_time_stays() {
        let mut stored = batch(Codec::None).to_vec();
        super::super::header::set_log_append_time(&mut stored, 77);
        let (limits, keep) = (DecompressionLimits::default(), [false, true, false, false]);
        let after = filter(&stored.into(), &keep, Some(9), &limits, &mut Scratch::new());
        assert_eq!(told(&after.expect("filtered"))[0].1, 77);
    }
}
