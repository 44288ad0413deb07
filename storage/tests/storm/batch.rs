//! Batches whose bytes say which batch they are, so that any of them that comes back changed, cut,
//! twice or in another's place is seen.

use bytes::Bytes;

const HEADER_BYTES: usize = 61;

/// What a client sends: a v2 batch. Its number is unique in a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    pub number: u64,
    pub records: i32,
    pub timestamp: i64,
    /// -1 for a producer that is not idempotent.
    pub producer: i64,
    pub producer_epoch: i16,
    pub sequence: i32,
    pub bytes: usize,
}

impl Batch {
    /// The bytes as a client sends them.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.bytes);
        out.extend_from_slice(&0i64.to_be_bytes());
        let length = i32::try_from(self.bytes - 12).unwrap();
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes());
        out.push(2);
        self.encode_rest(&mut out);
        out.into()
    }

    /// Everything that no broker changes: from the checksum on.
    fn encode_rest(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.number as u32).to_be_bytes());
        out.extend_from_slice(&0i16.to_be_bytes());
        out.extend_from_slice(&(self.records - 1).to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.producer.to_be_bytes());
        out.extend_from_slice(&self.producer_epoch.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.records.to_be_bytes());
        // Each word of the payload is another: a page of one batch never passes for another page.
        let words = (self.bytes - HEADER_BYTES).div_ceil(8) as u64;
        for word in 0..words {
            let mixed = (self.number << 20 | word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            out.extend_from_slice(&mixed.to_le_bytes());
        }
        out.truncate(out.len() - (words as usize * 8 - (self.bytes - HEADER_BYTES)));
    }

    /// Whether `stored` is this batch as a log keeps it, at any offset and of any epoch.
    pub fn is_stored_as(&self, stored: &[u8]) -> bool {
        let sent = self.encode();
        stored.len() == sent.len() && stored[8..12] == sent[8..12] && stored[16..] == sent[16..]
    }

    /// The number that a stored batch says it has.
    pub fn number_of(stored: &[u8]) -> Option<u64> {
        let word = stored.get(17..21)?.try_into().ok()?;
        Some(u64::from(u32::from_be_bytes(word)))
    }

    /// How many offsets it takes.
    pub fn span(&self) -> i64 {
        i64::from(self.records)
    }

    /// Whether both are the same batch of the same producer.
    pub fn is_resend_of(&self, other: &Batch) -> bool {
        self.number == other.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_seen() {
        let batch = Batch {
            number: 7,
            records: 2,
            timestamp: 1000,
            producer: 5,
            producer_epoch: 0,
            sequence: 3,
            bytes: 333,
        };
        let sent = batch.encode();
        assert_eq!(sent.len(), 333);
        assert!(batch.is_stored_as(&sent));
        for at in 16..sent.len() {
            let mut changed = sent.to_vec();
            changed[at] ^= 1;
            assert!(!batch.is_stored_as(&changed), "byte {at}");
        }
    }
}
