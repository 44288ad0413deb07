//! Records of a plain format, for tests of compaction: storage sees them through its own trait, so
//! any format will do, and this one needs no codec.
//!
//! ```text
//!  a record: offset delta u16 | key length u8 | key | value length i16, -1 for none | value
//! ```

use bytes::Bytes;
use spate_storage::{
    batch::{BatchHeader, record_count},
    compaction::{RecordView, Records, UnreadableBatch},
};

/// A record as tests see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plain {
    pub offset: i64,
    pub key: String,
    pub value: Option<String>,
}

/// What a batch is beside its records.
#[derive(Clone, Copy, Default)]
pub struct Kind {
    pub timestamp: i64,
    /// Producer and first sequence.
    pub producer: Option<(i64, i32)>,
    pub is_transactional: bool,
    /// A marker: whether it commits.
    pub marker: Option<bool>,
}

pub fn batch_of(records: &[(&str, Option<&str>)], kind: Kind) -> Bytes {
    let mut payload = Vec::new();
    for (n, (key, value)) in records.iter().enumerate() {
        payload.extend(record(n as u16, key.as_bytes(), value.map(str::as_bytes)));
    }
    whole(payload, records.len() as i32, kind)
}

/// A transaction marker, with Kafka's key. Kafka's has no sequence; here the log checks it.
pub fn marker_of(producer: i64, sequence: i32, commits: bool) -> Bytes {
    let kind = Kind {
        producer: Some((producer, sequence)),
        is_transactional: true,
        marker: Some(commits),
        timestamp: 0,
    };
    whole(record(0, &[0, 0, 0, u8::from(commits)], Some(b"")), 1, kind)
}

fn record(delta: u16, key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let mut out = delta.to_be_bytes().to_vec();
    out.push(key.len() as u8);
    out.extend_from_slice(key);
    let len = value.map_or(-1i16, |value| value.len() as i16);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value.unwrap_or_default());
    out
}

fn whole(payload: Vec<u8>, count: i32, kind: Kind) -> Bytes {
    let attributes = i16::from(kind.is_transactional) << 4 | i16::from(kind.marker.is_some()) << 5;
    let (producer, sequence) = kind.producer.unwrap_or((-1, -1));
    let mut out = Vec::new();
    out.extend_from_slice(&0i64.to_be_bytes());
    out.extend_from_slice(&(49 + payload.len() as i32).to_be_bytes());
    out.extend_from_slice(&(-1i32).to_be_bytes());
    out.push(2);
    out.extend_from_slice(&0u32.to_be_bytes());
    out.extend_from_slice(&attributes.to_be_bytes());
    out.extend_from_slice(&(count - 1).to_be_bytes());
    out.extend_from_slice(&kind.timestamp.to_be_bytes());
    out.extend_from_slice(&kind.timestamp.to_be_bytes());
    out.extend_from_slice(&producer.to_be_bytes());
    out.extend_from_slice(&0i16.to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&payload);
    out.into()
}

/// The records of a batch, each with its bytes.
fn walk(batch: &[u8]) -> Option<Vec<(Plain, &[u8])>> {
    let header = BatchHeader::parse(batch)?;
    let mut rest = &batch[61..];
    let mut all = Vec::new();
    for _ in 0..record_count(batch) {
        let begin = rest;
        let delta = u16::from_be_bytes(*rest.first_chunk()?);
        let key_len = usize::from(*rest.get(2)?);
        let key = rest.get(3..3 + key_len)?;
        rest = &rest[3 + key_len..];
        let len = i16::from_be_bytes(*rest.first_chunk()?);
        let value = usize::try_from(len).ok().map(|len| &rest[2..2 + len]);
        rest = &rest[2 + value.map_or(0, <[u8]>::len)..];
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let plain = Plain {
            offset: header.base.0 + i64::from(delta),
            key: text(key),
            value: value.map(text),
        };
        all.push((plain, &begin[..begin.len() - rest.len()]));
    }
    Some(all)
}

pub fn records_of(batch: &[u8]) -> Vec<Plain> {
    let all = walk(batch).expect("a batch of plain records");
    all.into_iter().map(|(plain, _)| plain).collect()
}

/// How storage opens them.
pub struct PlainRecords;

impl Records for PlainRecords {
    fn visit(
        &self,
        batch: &Bytes,
        see: &mut dyn FnMut(RecordView<'_>),
    ) -> Result<(), UnreadableBatch> {
        let all = walk(batch).ok_or_else(unreadable)?;
        for (plain, _) in all {
            see(RecordView {
                offset: plain.offset,
                key: Some(plain.key.as_bytes()),
                has_value: plain.value.is_some(),
            });
        }
        Ok(())
    }

    fn filter(
        &self,
        batch: &Bytes,
        keep: &[bool],
        horizon: Option<i64>,
    ) -> Result<Bytes, UnreadableBatch> {
        let all = walk(batch).ok_or_else(unreadable)?;
        assert_eq!(all.len(), keep.len());
        let kept: Vec<&[u8]> = all
            .iter()
            .zip(keep)
            .filter(|(_, keep)| **keep)
            .map(|((_, bytes), _)| *bytes)
            .collect();
        assert!(!kept.is_empty(), "an empty batch is storage's own business");
        let mut out = batch[..61].to_vec();
        out.extend(kept.concat());
        let length = out.len() as i32 - 12;
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[57..61].copy_from_slice(&(kept.len() as i32).to_be_bytes());
        if let Some(horizon) = horizon {
            out[22] |= 1 << 6;
            out[27..35].copy_from_slice(&horizon.to_be_bytes());
        }
        Ok(out.into())
    }
}

fn unreadable() -> UnreadableBatch {
    UnreadableBatch {
        reason: "not plain records".to_owned(),
    }
}
