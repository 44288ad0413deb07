//! The answers to produce requests, parted and read where they lie: at hundreds of thousands a
//! second, a driver that decoded each into a tree would measure itself.

use bytes::Bytes;
use spate_net::kafka::api::Message;
use spate_net::kafka::api::produce::{ProduceResponse, RANGE};
use spate_net::kafka::error::{ErrorCode, WireError};
use spate_net::kafka::header::parse_response;

/// An answer names one partition; with an error message it may have some kilobytes.
const FRAME_MAX: usize = 1 << 20;

/// A frame whose length is impossible.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the broker announces an answer of {bytes} bytes to a produce request: not Kafka?")]
pub struct BadLength {
    bytes: i32,
}

/// Parts a stream of bytes into frames. Frames that come whole are not copied.
#[derive(Default)]
pub struct Frames {
    /// The beginning of a frame whose rest is still to come.
    carry: Vec<u8>,
}

impl Frames {
    /// Calls `each` with every frame, without its size, that `chunk` completes.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), BadLength> {
        if self.carry.is_empty() {
            let rest = part(chunk, &mut each)?;
            self.carry.extend_from_slice(rest);
            return Ok(());
        }
        self.carry.extend_from_slice(chunk);
        let rest = part(&self.carry, &mut each)?.len();
        self.carry.drain(..self.carry.len() - rest);
        Ok(())
    }
}

fn part<'a>(mut bytes: &'a [u8], each: &mut impl FnMut(&[u8])) -> Result<&'a [u8], BadLength> {
    while let Some((size, rest)) = bytes.split_first_chunk::<4>() {
        let size = i32::from_be_bytes(*size);
        let length = usize::try_from(size)
            .ok()
            .filter(|length| *length <= FRAME_MAX);
        let length = length.ok_or(BadLength { bytes: size })?;
        let Some((frame, behind)) = rest.split_at_checked(length) else {
            break;
        };
        each(frame);
        bytes = behind;
    }
    Ok(bytes)
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The request.
    pub correlation_id: i32,
    /// What went wrong, or `None`.
    pub error: ErrorCode,
    /// Where the batch came to lie, -1 if it did not.
    pub base_offset: i64,
    /// What went wrong in the broker's words.
    pub message: Option<String>,
}

/// Where the error code lies in the answer to a request for one partition:
///
/// ```text
/// correlation i32 | tags | topics = 1 | name | partitions = 1 | index i32 | error i16 | offset i64
///                 ^ all of this is the same in every answer  ^
/// ```
pub struct AnswerLayout {
    version: i16,
    constant: Vec<u8>,
}

impl AnswerLayout {
    /// The layout of answers for that topic.
    pub fn new(version: i16, topic: &str) -> AnswerLayout {
        let mut constant = Vec::new();
        if RANGE.is_flexible(version) {
            constant.extend([0, 2]);
            // Topic names have at most 249 bytes: two bytes of varint at most.
            match topic.len() + 1 {
                length @ ..128 => constant.push(length as u8),
                length => constant.extend([length as u8 | 0x80, (length >> 7) as u8]),
            }
            constant.extend(topic.as_bytes());
            constant.push(2);
        } else {
            constant.extend(1i32.to_be_bytes());
            constant.extend((topic.len() as i16).to_be_bytes());
            constant.extend(topic.as_bytes());
            constant.extend(1i32.to_be_bytes());
        }
        AnswerLayout { version, constant }
    }

    /// Reads an answer: by its layout if all went well, else by the codec.
    pub fn read(&self, frame: &[u8]) -> Result<Answer, WireError> {
        if let Some((correlation_id, rest)) = frame.split_first_chunk::<4>()
            && let Some(rest) = rest.strip_prefix(&self.constant[..])
            && rest.get(4..6) == Some(&[0, 0])
            && let Some(offset) = rest.get(6..).and_then(|rest| rest.first_chunk::<8>())
        {
            let correlation_id = i32::from_be_bytes(*correlation_id);
            return Ok(Answer {
                correlation_id,
                error: ErrorCode::None,
                base_offset: i64::from_be_bytes(*offset),
                message: None,
            });
        }
        let frame = Bytes::copy_from_slice(frame);
        let (correlation_id, mut body) = parse_response(&RANGE, self.version, &frame)?;
        let response = ProduceResponse::read(&mut body, self.version)?;
        let first = response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .next();
        // An answer about nothing is none: as if the broker had not understood.
        let Some(partition) = first else {
            let error = ErrorCode::UnknownServerError;
            return Ok(Answer {
                correlation_id,
                error,
                base_offset: -1,
                message: None,
            });
        };
        let message = partition
            .error_message
            .as_ref()
            .map(|text| text.as_str().to_owned());
        Ok(Answer {
            correlation_id,
            error: partition.error,
            base_offset: partition.base_offset,
            message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spate_net::kafka::KafkaString;
    use spate_net::kafka::api::TopicRef;
    use spate_net::kafka::api::produce::{PartitionResponse, TopicResponse};

    fn encoded(version: i16, topic: &str, partition: PartitionResponse) -> Bytes {
        let response = ProduceResponse {
            topics: vec![TopicResponse {
                topic: TopicRef::Name(KafkaString::from(topic.to_owned())),
                partitions: vec![partition],
            }],
            ..ProduceResponse::default()
        };
        response.encode(version, 4711).unwrap()
    }

    #[test]
    fn the_layout_agrees_with_the_codec_in_every_version() {
        for version in RANGE.min..=crate::template::VERSION_MAX {
            for topic in [
                "t".to_owned(),
                "x".repeat(126),
                "x".repeat(127),
                "x".repeat(249),
            ] {
                let frame = encoded(version, &topic, PartitionResponse::written(3, 1 << 40, 0));
                let layout = AnswerLayout::new(version, &topic);
                assert!(
                    frame[8..].starts_with(&layout.constant),
                    "v{version} {}",
                    topic.len()
                );
                let answer = layout.read(&frame[4..]).unwrap();
                assert_eq!(
                    (answer.correlation_id, answer.error, answer.base_offset),
                    (4711, ErrorCode::None, 1 << 40)
                );
            }
        }
    }

    #[test]
    fn errors_come_with_the_brokers_words() {
        let mut refused = PartitionResponse::failed(3, ErrorCode::OutOfOrderSequenceNumber);
        refused.error_message = Some(KafkaString::from_static("expected 5, found 7"));
        let frame = encoded(9, "topic", refused);
        let answer = AnswerLayout::new(9, "topic").read(&frame[4..]).unwrap();
        assert_eq!(answer.error, ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(answer.message.as_deref(), Some("expected 5, found 7"));
        assert!(AnswerLayout::new(9, "topic").read(b"nonsense").is_err());
    }

    #[test]
    fn frames_are_found_wherever_the_chunks_are_cut() {
        let sizes = [0usize, 5, 1, 300, 2];
        let mut stream = Vec::new();
        for size in sizes {
            stream.extend((size as i32).to_be_bytes());
            stream.extend(vec![size as u8; size]);
        }
        for chunk_bytes in [1, 2, 3, 7, 100, 1_000] {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for chunk in stream.chunks(chunk_bytes) {
                frames
                    .feed(chunk, |frame| found.push(frame.to_vec()))
                    .unwrap();
            }
            assert_eq!(found, sizes.map(|size| vec![size as u8; size]));
        }
        assert_eq!(
            Frames::default().feed(&[0xff; 4], |_| ()),
            Err(BadLength { bytes: -1 })
        );
    }
}
