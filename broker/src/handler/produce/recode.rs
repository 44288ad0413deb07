//! A topic's `compression.type`: batches that came in another codec are given the topic's before
//! they go to their log. It is the connection's shard that does it, a few milliseconds at a time.

use std::time::Duration;

use bytes::Bytes;
use spate_net::{
    kafka::{
        api::produce::{ProduceRequest, TopicData},
        error::ErrorCode,
        record_batch::{Codec, DecompressionLimits, Recompress, RecompressError, Scratch, Target},
    },
    reactor,
};

use super::check::Fault;
use crate::{
    budget::Grant,
    config::topic::{Compression, TopicConfig},
    handler::{Context, locate},
    image::{Image, TopicImage},
};

/// How long one batch is worked on before other tasks of the shard get a turn.
const WORK_BETWEEN_TURNS: Duration = Duration::from_micros(500);

/// Memory of a shard for batches in their new form: two of the largest that there can be.
pub const MEMORY_BYTES: usize = 64 << 20;

/// The codec that a batch has to be given, if the topic wants another than it has.
pub fn wanted(config: &TopicConfig, has: Codec) -> Option<Target> {
    let (codec, level) = match config.compression {
        Compression::Producer => return None,
        Compression::Uncompressed => (Codec::None, None),
        Compression::Gzip => (Codec::Gzip, config.gzip_level),
        Compression::Snappy => (Codec::Snappy, None),
        Compression::Lz4 => (Codec::Lz4, None),
        Compression::Zstd => (Codec::Zstd, Some(config.zstd_level)),
    };
    (codec != has).then_some(Target { codec, level })
}

/// Takes the memory that all batches of one request may need, once: a request that held some of it
/// while it waited for more could wait for itself.
pub async fn reserve(context: &Context, asked: &ProduceRequest, image: &Image) -> Grant {
    let need_bytes = |topic: &TopicData| {
        let known = locate::topic(image, &topic.topic).ok()?;
        let may_change = known.config.compression != Compression::Producer;
        let each_bytes = known.config.max_message_bytes as usize;
        may_change.then(|| each_bytes.saturating_mul(topic.partitions.len()))
    };
    let bytes = asked.topics.iter().filter_map(need_bytes);
    let bytes = bytes.fold(0, usize::saturating_add);
    context.recode.take(bytes).await
}

/// The batch in the wanted codec, at most as large as the topic allows.
///
/// # Errors
/// 10 if it is larger in that codec.
pub async fn recode(
    topic: &TopicImage,
    batch: &Bytes,
    has: Codec,
    target: Target,
) -> Result<Bytes, Fault> {
    let limit_bytes = topic.config.max_message_bytes as usize;
    let limits = DecompressionLimits::default();
    let mut scratch = Scratch::new();
    let refused = |error: RecompressError| refused(topic, &error);
    let mut work =
        Recompress::new(batch, has, target, limit_bytes, &limits, &mut scratch).map_err(refused)?;
    let mut turn_began = reactor::now();
    while !work.step().map_err(refused)? {
        if turn_began.elapsed() >= WORK_BETWEEN_TURNS {
            reactor::yield_now().await;
            turn_began = reactor::now();
        }
    }
    work.finish().map_err(refused)
}

fn refused(topic: &TopicImage, error: &RecompressError) -> Fault {
    let code = match error {
        RecompressError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        _ => ErrorCode::InvalidRecord,
    };
    let text = format!(
        "the batch cannot be stored as compression.type of topic {:?} asks: {error}",
        topic.name
    );
    Fault::new(code, text)
}
