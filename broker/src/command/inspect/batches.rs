//! Kafka batches as they lie in blocks and frames, and with `--records` what is in them.

use bytes::Bytes;
use spate_net::kafka::record_batch::{BatchHeader, DecompressionLimits, Records, Scratch};
use spate_storage::batch::batches;

use super::{
    Wish,
    shown::{Bad, Item, bytes},
};

/// All batches of some contiguous bytes that lie at `position` of their file.
pub fn items(payload: &Bytes, position: u64, wish: Wish, bad: &mut Vec<Bad>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut at = 0;
    for (_, batch) in batches(payload) {
        let here = position + at as u64;
        at += batch.len();
        if let Some(header) = BatchHeader::of(batch) {
            items.push(item(&header, payload.slice_ref(batch), here, wish, bad));
        }
    }
    if at != payload.len() {
        bad.push(Bad {
            position: position + at as u64,
            offsets: None,
            reason: format!("{} bytes that are no batch", payload.len() - at),
        });
    }
    items
}

fn item(
    header: &BatchHeader<'_>,
    batch: Bytes,
    position: u64,
    wish: Wish,
    bad: &mut Vec<Bad>,
) -> Item {
    let codec = header.codec().map(|codec| codec.name());
    let mut item = Item::new()
        .with("base", header.base_offset())
        .with("last", header.last_offset())
        .with("position", position)
        .with("bytes", batch.len())
        .with("codec", codec.unwrap_or("unknown"))
        .with("count", header.record_count())
        .with("max_timestamp", header.max_timestamp())
        .with("epoch", header.leader_epoch());
    if header.has_producer_id() {
        item = item
            .with("producer", header.producer_id())
            .with("producer_epoch", i32::from(header.producer_epoch()))
            .with("sequence", header.base_sequence());
    }
    if header.is_transactional() || header.is_control() {
        item = item
            .with("transactional", header.is_transactional())
            .with("control", header.is_control());
    }
    if !wish.records && !wish.verify {
        return item;
    }
    let offsets = Some((header.base_offset(), header.last_offset() + 1));
    let limits = DecompressionLimits::default();
    match records(&batch, &limits) {
        Ok(records) if wish.records => item.with("records", records),
        Ok(_) => item,
        Err(reason) => {
            let shown = reason.clone();
            bad.push(Bad {
                position,
                offsets,
                reason,
            });
            item.with("error", shown)
        }
    }
}

fn records(batch: &Bytes, limits: &DecompressionLimits) -> Result<Vec<Item>, String> {
    let opened = Records::open(batch, limits, &mut Scratch::new());
    let opened = opened.map_err(|error| error.to_string())?;
    let mut items = Vec::new();
    for record in opened.iter() {
        let record = record.map_err(|error| error.to_string())?;
        let headers: Vec<Item> = record
            .headers
            .iter()
            .map(|(name, value)| {
                Item::new()
                    .with("header", bytes(Some(name)))
                    .with("value", bytes(*value))
            })
            .collect();
        let mut item = Item::new()
            .with("offset", record.offset)
            .with("timestamp", record.timestamp)
            .with("key", bytes(record.key))
            .with("value", bytes(record.value));
        if !headers.is_empty() {
            item = item.with("headers", headers);
        }
        items.push(item);
    }
    Ok(items)
}
