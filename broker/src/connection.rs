//! One client's connection: frames in, answers out, in the order of the requests.
//!
//! Consecutive Produce and OffsetCommit requests overlap: each has taken its place in every
//! partition's order before the next frame is read, and only its durability is waited for later.
//! Any other request waits for the answers before it, runs alone, and answers before the next is
//! taken, as in Kafka.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::Either, future::select};
use spate_net::{
    frame::{Frame, FrameError, FrameReader, Reserve, read_frame},
    kafka::{
        header::{HeaderError, parse_request},
        versions::ApiKey,
    },
    reactor::{self, Notify, Patience, TcpStream},
};

use crate::{
    budget::{Budget, Grant},
    handler::{self, Answered, Context},
    image::brokers::Listener,
};

/// A slice of an answer that goes out with one deadline. A fetch of 50 MiB to a slow link is slow,
/// and not stuck, while each of its slices moves.
const SEND_SLICE: usize = 1 << 20;

/// Small answers that are ready together go out with one system call, up to this many.
const COALESCE: usize = 64;

/// An answer on its way.
pub type PendingAnswer = Pin<Box<dyn Future<Output = Answered>>>;

/// Who a connection is, for the handlers.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The connection's number on its shard; never used again.
    pub number: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What it came through.
    pub listener: Listener,
}

/// Why a connection ends from our side.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// A frame that cannot be.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A request header that cannot be, or an API or version that is not served.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A request that cannot be read or may not be answered.
    #[error("{0}")]
    Request(String),
    /// The peer did not take an answer.
    #[error(
        "the client took no bytes of an answer for {waited_ms} ms; it must read what it asked for"
    )]
    NotReading {
        /// The deadline that passed.
        waited_ms: u128,
    },
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

impl Closed {
    /// Whether the peer went away, rather than did something wrong.
    pub fn is_the_peers(&self) -> bool {
        match self {
            Closed::Frame(FrameError::Io(error)) | Closed::Socket(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
            ),
            _ => false,
        }
    }
}

/// Answers of one connection that are not sent yet, oldest first.
struct Outbox {
    queue: RefCell<VecDeque<Outgoing>>,
    /// Answers whose outcome is not known yet.
    unresolved: Cell<usize>,
    resolved: Notify,
    finished: Cell<bool>,
}

struct Outgoing {
    body: PendingAnswer,
    /// The request's place among those in flight, and its memory.
    holds: (Grant, Option<Memory>),
    /// What was asked, and when.
    asked: (ApiKey, Instant),
}

/// An answer that is being sent, with what is held until it is.
struct Departing {
    _holds: (Grant, Option<Memory>, Option<Grant>),
    asked: (ApiKey, Instant),
    bytes: usize,
}

/// Serves one connection, which was counted when it was admitted, until it ends, and says why when
/// it was us.
pub async fn serve(context: Rc<Context>, stream: TcpStream, client: Client) {
    let _open = context.stats.connections_open.present_already();
    let outbox = Rc::new(Outbox {
        queue: RefCell::default(),
        unresolved: Cell::new(0),
        resolved: Notify::new(),
        finished: Cell::new(false),
    });
    let writer = Box::pin(write(
        Rc::clone(&context),
        stream.clone(),
        Rc::clone(&outbox),
    ));
    let reader = Box::pin(read(&context, &stream, client, &outbox));
    // The reader first: see `Outbox::pop`.
    let ended = match select(reader, writer).await {
        // The peer has no more to say, or nothing that we can read, but may still listen: what it
        // asked for before is still answered.
        Either::Left((read, writer)) => {
            outbox.finish();
            let written = writer.await;
            read.and(written)
        }
        Either::Right((written, _)) => written,
    };
    stream.shutdown();
    outbox.outlast_produces().await;
    context
        .router
        .forget(context.router.watch_key(client.number))
        .await;
    if let Err(closed) = ended {
        context.closed(client, &closed);
    }
}

async fn read(
    context: &Rc<Context>,
    stream: &TcpStream,
    client: Client,
    outbox: &Rc<Outbox>,
) -> Result<(), Closed> {
    let mut frames = FrameReader::new(context.limits.frame);
    let in_flight = Budget::new(context.limits.in_flight_per_connection);
    let mut silence = Silence {
        patience: Patience::new(context.limits.idle_timeout),
        stopping: pin!(context.stopping.wait()),
    };
    loop {
        let place = in_flight.take(1).await;
        let next = next_frame(context, stream, &mut frames, &mut silence);
        let Some((frame, memory)) = next.await? else {
            return Ok(());
        };
        context.stats.requests.add(1);
        let frame_bytes = frame.len() as u64 + 4;
        context.stats.bytes_in.add(frame_bytes);
        let request = parse_request(&frame)?;
        drop(frame);
        let asked = (request.header.api.key, reactor::now());
        let counters = context.apis.of(asked.0);
        counters.requests.add(1);
        counters.request_bytes.add(frame_bytes);
        let mut throttle = Duration::ZERO;
        let memory = Cell::new(Some(memory));
        let answer = if handler::overlaps(&request.header) {
            if request.header.api.key == ApiKey::Produce {
                throttle = context.produce_throttle();
            }
            if handler::waits_for_others(&request.header, frame_bytes) {
                outbox.all_resolved().await;
            }
            handler::begin(context, request).await?
        } else {
            outbox.all_resolved().await;
            let work = Box::pin(handler::answer(context, client, request, &memory));
            match select(work, Box::pin(stream.closed())).await {
                Either::Left((answered, _)) => std::future::ready(answered?).boxed_local(),
                Either::Right(_) => return Ok(()),
            }
        };
        outbox.push(Outgoing {
            body: answer,
            holds: (place, memory.into_inner()),
            asked,
        });
        hold_back(context, throttle).await;
    }
}

/// Leaves the connection unread for so long: a client that does not heed the throttle time in its
/// answers is slowed down all the same.
async fn hold_back(context: &Context, throttle: Duration) {
    if !throttle.is_zero() {
        let pause = pin!(reactor::sleep(throttle));
        select(pause, pin!(context.stopping.wait())).await;
    }
}

/// What ends the wait for a request. Both outlive the waits: most requests come soon.
struct Silence<'a, S> {
    /// For how long a client may say nothing.
    patience: Patience,
    /// Ends when the shard does.
    stopping: Pin<&'a mut S>,
}

/// The next frame and its memory; `None` when the peer, its silence or our own end says it is over.
async fn next_frame<S: Future>(
    context: &Rc<Context>,
    stream: &TcpStream,
    frames: &mut FrameReader,
    silence: &mut Silence<'_, S>,
) -> Result<Option<(Bytes, Memory)>, Closed> {
    // A client that sends requests without waiting has mostly sent the next one by now.
    let frame = match frames.ready()? {
        Some(bytes) => Some(Frame { bytes, lease: None }),
        None => receive_frame(context, stream, frames, silence).await?,
    };
    let Some(frame) = frame else { return Ok(None) };
    let memory = match frame.lease {
        Some(lease) => lease,
        None => (context.receive.take(frame.bytes.len()).await, None),
    };
    Ok(Some((frame.bytes, memory)))
}

async fn receive_frame<S: Future>(
    context: &Rc<Context>,
    stream: &TcpStream,
    frames: &mut FrameReader,
    silence: &mut Silence<'_, S>,
) -> Result<Option<Frame<Memory>>, FrameError> {
    let plan = MemoryPlan {
        whole: &context.receive,
        large: &context.receive_large,
    };
    let next = silence.patience.with(read_frame(stream, frames, &plan));
    match select(pin!(next), silence.stopping.as_mut()).await {
        Either::Left((Ok(frame), _)) => frame,
        // Silent for too long, or the shard is about to end.
        Either::Left((Err(_), _)) | Either::Right(_) => Ok(None),
    }
}

/// A request's memory, and its part in what large ones may have of the whole.
pub type Memory = (Grant, Option<Grant>);

/// Lets a large frame's memory be planned before it is received. Large frames queue for their part
/// first: senders that take minutes for theirs cannot keep the small ones waiting.
struct MemoryPlan<'a> {
    whole: &'a Rc<Budget>,
    large: &'a Rc<Budget>,
}

impl Reserve for MemoryPlan<'_> {
    type Lease = Memory;

    async fn reserve(&self, bytes: usize) -> Memory {
        let part = self.large.take(bytes).await;
        (self.whole.take(bytes).await, Some(part))
    }
}

async fn write(context: Rc<Context>, stream: TcpStream, outbox: Rc<Outbox>) -> Result<(), Closed> {
    let mut patience = Patience::new(context.limits.send_timeout);
    while let Some(mut oldest) = outbox.pop().await {
        let answered = oldest.body.as_mut().await;
        let mut parts = Vec::new();
        let mut departing = Vec::new();
        let mut next = Some((oldest, answered));
        let mut ended = Ok(());
        while let Some((ready, answered)) = next.take() {
            match outbox.resolve(ready, answered, &mut parts) {
                Ok(answer) => departing.push(answer),
                // The answers before it still go out.
                Err(closed) => {
                    ended = Err(closed);
                    break;
                }
            }
            if departing.len() < COALESCE {
                next = outbox.pop_ready();
            }
        }
        send(&context, &stream, parts, &mut patience).await?;
        for Departing { asked, bytes, .. } in departing {
            let (api, began) = asked;
            let counters = context.apis.of(api);
            counters.response_bytes.add(bytes as u64);
            counters.answered(began.elapsed());
        }
        ended?;
    }
    Ok(())
}

async fn send(
    context: &Context,
    stream: &TcpStream,
    parts: Vec<Bytes>,
    patience: &mut Patience,
) -> Result<(), Closed> {
    let mut slice = Vec::new();
    let mut slice_bytes = 0;
    for mut part in parts {
        while !part.is_empty() {
            let piece = part.split_to(part.len().min(SEND_SLICE - slice_bytes));
            slice_bytes += piece.len();
            slice.push(piece);
            if slice_bytes == SEND_SLICE {
                let slice = std::mem::take(&mut slice);
                send_slice(context, stream, slice, slice_bytes, patience).await?;
                slice_bytes = 0;
            }
        }
    }
    if slice_bytes > 0 {
        send_slice(context, stream, slice, slice_bytes, patience).await?;
    }
    Ok(())
}

async fn send_slice(
    context: &Context,
    stream: &TcpStream,
    slice: Vec<Bytes>,
    bytes: usize,
    patience: &mut Patience,
) -> Result<(), Closed> {
    match patience.with(stream.send(slice)).await {
        Ok(sent) => sent?,
        Err(_) => {
            return Err(Closed::NotReading {
                waited_ms: patience.limit().as_millis(),
            });
        }
    }
    context.stats.bytes_out.add(bytes as u64);
    Ok(())
}

impl Outbox {
    fn push(&self, outgoing: Outgoing) {
        self.unresolved.set(self.unresolved.get() + 1);
        self.queue.borrow_mut().push_back(outgoing);
    }

    /// No more will come.
    fn finish(&self) {
        self.finished.set(true);
    }

    /// The oldest answer, once there is one. Nobody is woken for it: what the reader pushes is
    /// found in the same poll of the connection's task, in which the writer comes second.
    async fn pop(&self) -> Option<Outgoing> {
        poll_fn(|_| match self.queue.borrow_mut().pop_front() {
            None if !self.finished.get() => Poll::Pending,
            oldest => Poll::Ready(oldest),
        })
        .await
    }

    /// The oldest answer, if its outcome is known by now.
    fn pop_ready(&self) -> Option<(Outgoing, Answered)> {
        let mut oldest = self.queue.borrow_mut().pop_front()?;
        match oldest.body.as_mut().now_or_never() {
            Some(answered) => Some((oldest, answered)),
            None => {
                self.queue.borrow_mut().push_front(oldest);
                None
            }
        }
    }

    /// Puts the answer's bytes behind `parts`; returns what to hold and count when they are sent.
    fn resolve(
        &self,
        outgoing: Outgoing,
        answered: Answered,
        parts: &mut Vec<Bytes>,
    ) -> Result<Departing, Closed> {
        self.unresolved.set(self.unresolved.get() - 1);
        if self.unresolved.get() == 0 {
            self.resolved.notify_one();
        }
        let (place, memory) = outgoing.holds;
        let asked = outgoing.asked;
        match answered {
            Answered::Frame {
                parts: frame,
                memory: leased,
            } => {
                let bytes = frame.iter().map(Bytes::len).sum();
                parts.extend(frame);
                Ok(Departing {
                    _holds: (place, memory, leased),
                    asked,
                    bytes,
                })
            }
            Answered::Nothing => Ok(Departing {
                _holds: (place, memory, None),
                asked,
                bytes: 0,
            }),
            Answered::Close(reason) => Err(Closed::Request(reason)),
        }
    }

    /// Lets what was to be written go on to its end although nobody hears of it any more: its
    /// frames are queued in the shards until then, and their memory is not to be given to others.
    async fn outlast_produces(&self) {
        let rest = std::mem::take(&mut *self.queue.borrow_mut());
        for mut outgoing in rest {
            if outgoing.asked.0 == ApiKey::Produce {
                drop(outgoing.body.as_mut().await);
            }
        }
    }

    async fn all_resolved(&self) {
        while self.unresolved.get() > 0 {
            self.resolved.notified().await;
        }
    }
}
