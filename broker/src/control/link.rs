//! The pair of rings between one shard and the control thread.
//!
//! A full ring is back-pressure, never a drop: the shard keeps what it could not send and asks
//! again, the control thread keeps a queue that its shards' outstanding requests bound.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::Notify;

use super::message::{FromShard, ShardNotice};

/// Slots of each ring. A shard has at most [`REQUESTS_IN_FLIGHT`] requests out, each of which gets
/// one reply; the rest is for images. What does not fit waits in the link, bounded by the requests
/// of all shards: each makes at most one image.
pub const RING_SLOTS: usize = 128;

/// Requests that one shard may have out at once. Admin work is rare; a Metadata storm over an
/// unknown topic is one AutoCreate per connection, which waits its turn in the shard.
pub const REQUESTS_IN_FLIGHT: usize = 64;

const _: () = assert!(
    REQUESTS_IN_FLIGHT * 2 <= RING_SLOTS,
    "replies and images must both fit"
);

/// A shard's end.
pub struct ShardPort {
    requests: rtrb::Producer<FromShard>,
    notices: rtrb::Consumer<ShardNotice>,
    control: Arc<Notify>,
}

impl ShardPort {
    /// Sends, or gives back what does not fit: try again after the next notice.
    ///
    /// # Errors
    /// The message itself, if the ring is full.
    pub fn send(&mut self, message: FromShard) -> Result<(), FromShard> {
        self.requests
            .push(message)
            .map_err(|rtrb::PushError::Full(message)| message)?;
        self.control.notify_one();
        Ok(())
    }

    /// The next notice, if one is there.
    pub fn receive(&mut self) -> Option<ShardNotice> {
        self.notices.pop().ok()
    }

    /// Whether [`ShardPort::receive`] would return one: the probe of a shard about to park.
    #[must_use]
    pub fn has_notice(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Whether the control thread is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.notices.is_abandoned()
    }
}

impl Drop for ShardPort {
    /// A shard that ends, by a panic too, must not leave the control thread asleep.
    fn drop(&mut self) {
        self.control.notify_one();
    }
}

/// The control thread's end of the same pair.
pub struct ShardLink {
    requests: rtrb::Consumer<FromShard>,
    notices: rtrb::Producer<ShardNotice>,
    waiting: VecDeque<ShardNotice>,
    wake_shard: Box<dyn Fn() + Send>,
}

impl ShardLink {
    /// Queues a notice and sends what fits; the shard is woken.
    pub fn send(&mut self, notice: ShardNotice) {
        self.waiting.push_back(notice);
        self.flush();
    }

    /// Sends what is still queued. True if nothing is left.
    pub fn flush(&mut self) -> bool {
        let before = self.waiting.len();
        while let Some(notice) = self.waiting.pop_front() {
            if let Err(rtrb::PushError::Full(notice)) = self.notices.push(notice) {
                self.waiting.push_front(notice);
                break;
            }
        }
        if self.waiting.len() < before {
            (self.wake_shard)();
        }
        self.waiting.is_empty()
    }

    /// The next message of the shard, if one is there.
    pub fn receive(&mut self) -> Option<FromShard> {
        self.requests.pop().ok()
    }

    /// Whether the shard's thread is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.requests.is_abandoned()
    }
}

/// Makes the two ends. `control` is shared by all shards; `wake_shard` is called from the control
/// thread after it has sent something.
#[must_use]
pub fn link(control: Arc<Notify>, wake_shard: Box<dyn Fn() + Send>) -> (ShardPort, ShardLink) {
    let (request_sender, requests) = rtrb::RingBuffer::new(RING_SLOTS);
    let (notice_sender, notices) = rtrb::RingBuffer::new(RING_SLOTS);
    let port = ShardPort {
        requests: request_sender,
        notices,
        control,
    };
    let link = ShardLink {
        requests,
        notices: notice_sender,
        waiting: VecDeque::new(),
        wake_shard,
    };
    (port, link)
}
