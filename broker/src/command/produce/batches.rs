//! Records on their way into batches: one under construction for each partition that has some.

use std::collections::BTreeMap;

use spate_net::kafka::record_batch::{BatchBuilder, Codec, NewRecord};

use super::partitioner::Partitioner;

/// A batch is sent before it passes this: brokers take a mebibyte unless they are told otherwise.
const BATCH_BYTES: usize = 900 << 10;

/// What a record takes beside its key, value and headers, rounded up.
const RECORD_OVERHEAD: usize = 64;

/// Batches under construction.
pub struct Batches {
    codec: Codec,
    partitioner: Partitioner,
    building: BTreeMap<i32, BatchBuilder>,
}

impl Batches {
    /// For a topic with so many partitions; all to `fixed` if it is given.
    pub fn new(codec: Codec, partitions: i32, fixed: Option<i32>) -> Batches {
        let partitioner = Partitioner::new(partitions, fixed);
        Batches {
            codec,
            partitioner,
            building: BTreeMap::new(),
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.building
            .values()
            .all(|builder| builder.record_count() == 0)
    }

    /// Whether the record can go into its batch with those that wait. A record larger than a batch
    /// gets one of its own, and the broker decides.
    pub fn has_room(&self, record: &NewRecord<'_>) -> bool {
        let present = self.building.get(&self.partitioner.choose(record.key));
        let present = present.filter(|builder| builder.record_count() > 0);
        present.is_none_or(|builder| builder.bytes() + record_bytes(record) <= BATCH_BYTES)
    }

    /// Adds a record.
    pub fn add(&mut self, record: &NewRecord<'_>) {
        let partition = self.partitioner.choose(record.key);
        let codec = self.codec;
        self.building
            .entry(partition)
            .or_insert_with(|| BatchBuilder::new(codec))
            .append(record);
    }

    /// The partitions that had records so far.
    pub fn partitions(&self) -> impl Iterator<Item = i32> + '_ {
        self.building.keys().copied()
    }

    /// The batches that have records, each with its partition; they are empty once finished.
    pub fn begun(&mut self) -> impl Iterator<Item = (i32, &mut BatchBuilder)> {
        self.partitioner.next_batch();
        let builders = self
            .building
            .iter_mut()
            .map(|(partition, builder)| (*partition, builder));
        builders.filter(|(_, builder)| builder.record_count() > 0)
    }
}

fn record_bytes(record: &NewRecord<'_>) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + length(*value) + 10);
    RECORD_OVERHEAD + length(record.key) + length(record.value) + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_stay_below_what_brokers_take() {
        let mut batches = Batches::new(Codec::None, 1, None);
        let value = vec![7; 100_000];
        let record = NewRecord {
            value: Some(&value),
            ..NewRecord::default()
        };
        let mut count = 0;
        while batches.has_room(&record) {
            batches.add(&record);
            count += 1;
        }
        assert_eq!(count, 9);
        for (_, builder) in batches.begun() {
            let batch = builder.finish(None).expect("no codec").expect("records");
            assert!(batch.len() < 1 << 20);
        }
        assert!(batches.is_empty());
        let huge = vec![7; 5 << 20];
        let huge = NewRecord {
            value: Some(&huge),
            ..NewRecord::default()
        };
        assert!(batches.has_room(&huge), "alone it may try");
    }
}
