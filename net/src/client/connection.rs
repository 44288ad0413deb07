//! One connection to a broker, pipelined: requests go out in the order they are made, answers come
//! back in that order and are told apart by their correlation ids.
//!
//! A writer task sends everything that was handed over since its last send in one call; a reader
//! task completes the requests. Both end with the last handle.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::channel::Channel;
use super::error::ClientError;
use super::handshake;
use super::reply::{Reply, Slot};
use super::security::Security;
use super::versions::BrokerVersions;
use crate::frame::{FrameLimits, FrameReader, Unplanned, read_frame};
use crate::kafka::api::{Call, Message};
use crate::kafka::header::parse_response;
use crate::kafka::versions::ApiRange;
use crate::reactor::{Notify, spawn, timeout};

/// How a client speaks to a broker.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// What it calls itself.
    pub client_id: String,
    /// How long it waits for a connection or an answer.
    pub request_timeout: Duration,
    /// What it accepts as an answer.
    pub limits: FrameLimits,
    /// Requests without answer after which [`Connection::call`] waits.
    pub in_flight_max: usize,
    /// What protects it.
    pub security: Security,
    /// The name by which the broker was found: its certificate has to have it.
    pub host: Option<String>,
}

impl Default for ConnectionSettings {
    fn default() -> ConnectionSettings {
        ConnectionSettings {
            client_id: "spate".to_owned(),
            request_timeout: Duration::from_secs(30),
            limits: FrameLimits::default(),
            in_flight_max: 1024,
            security: Security::default(),
            host: None,
        }
    }
}

/// A connection to a broker. Clones share it; the last one to go closes it.
#[derive(Clone, Debug)]
pub struct Connection {
    handle: Rc<Handle>,
}

/// What the clones share: its end is the connection's.
#[derive(Debug)]
struct Handle {
    shared: Rc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.fail("this client closed it");
    }
}

struct Shared {
    stream: Channel,
    peer: SocketAddr,
    settings: ConnectionSettings,
    versions: RefCell<BrokerVersions>,
    next_correlation_id: Cell<i32>,
    outbox: RefCell<Vec<Bytes>>,
    outbox_changed: Notify,
    /// In the order of their requests; bounded by who makes them, see `in_flight_max`.
    waiting: RefCell<VecDeque<Rc<Slot>>>,
    answered: Notify,
    failure: RefCell<Option<Rc<str>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let in_flight = self.waiting.borrow().len();
        f.debug_struct("Shared")
            .field("peer", &self.peer)
            .field("in_flight", &in_flight)
            .finish()
    }
}

impl Connection {
    /// Connects and asks for the broker's versions.
    pub async fn connect(
        peer: SocketAddr,
        settings: ConnectionSettings,
    ) -> Result<Connection, ClientError> {
        let (channel, versions) = handshake::open(peer, &settings).await?;
        let connection = Connection::over(channel, peer, settings);
        connection.handle.shared.versions.replace(versions);
        Ok(connection)
    }

    /// Connects and asks nothing: versions are the caller's business.
    pub async fn open(
        peer: SocketAddr,
        settings: ConnectionSettings,
    ) -> Result<Connection, ClientError> {
        let channel = handshake::connect(peer, &settings).await?;
        Ok(Connection::over(channel, peer, settings))
    }

    fn over(stream: Channel, peer: SocketAddr, settings: ConnectionSettings) -> Connection {
        let shared = Rc::new(Shared {
            stream,
            peer,
            settings,
            versions: RefCell::default(),
            next_correlation_id: Cell::new(0),
            outbox: RefCell::default(),
            outbox_changed: Notify::new(),
            waiting: RefCell::default(),
            answered: Notify::new(),
            failure: RefCell::default(),
        });
        spawn(Rc::clone(&shared).write()).detach();
        spawn(Rc::clone(&shared).read()).detach();
        Connection {
            handle: Rc::new(Handle { shared }),
        }
    }

    /// Where it leads.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.handle.shared.peer
    }

    /// What the client calls itself.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.handle.shared.settings.client_id
    }

    /// Why it cannot be used any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Rc<str>> {
        self.handle.shared.failure.borrow().clone()
    }

    /// Closes it: all that waits fails.
    pub fn close(&self) {
        self.handle.shared.fail("this client closed it");
    }

    /// How many requests wait for their answers.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.handle.shared.waiting.borrow().len()
    }

    /// The highest version of an API that both sides speak.
    pub fn version_of(&self, api: &ApiRange) -> Result<i16, ClientError> {
        self.handle.shared.versions.borrow().pick(api)
    }

    /// Asks, in the highest common version, and waits for the answer.
    pub async fn call<R: Call>(&self, request: &R) -> Result<R::Answer, ClientError> {
        self.call_at(self.version_of(&R::RANGE)?, request).await
    }

    /// Asks in a version of the caller's choice.
    pub async fn call_at<R: Call>(
        &self,
        version: i16,
        request: &R,
    ) -> Result<R::Answer, ClientError> {
        let frame = self.exchange(version, request).await?;
        let answer = parse_response(&R::RANGE, version, &frame)
            .and_then(|(_, mut body)| R::Answer::read(&mut body, version));
        answer.map_err(|source| ClientError::Wire {
            api: R::RANGE.key,
            source,
        })
    }

    async fn exchange<R: Call>(&self, version: i16, request: &R) -> Result<Bytes, ClientError> {
        let settings = &self.handle.shared.settings;
        while self.in_flight() >= settings.in_flight_max && self.failure().is_none() {
            self.handle.shared.answered.notified().await;
        }
        let reply = self.request(version, request)?;
        let waited = settings.request_timeout;
        let late = || ClientError::Timeout {
            peer: self.peer(),
            api: R::RANGE.key,
            waited,
        };
        timeout(waited, reply).await.map_err(|_| late())?
    }

    /// Sends a request without waiting; the reply is a raw frame.
    pub fn request<R: Call>(&self, version: i16, request: &R) -> Result<Reply, ClientError> {
        let correlation_id = self.next_correlation_id();
        let frame = request
            .frame(version, correlation_id, Some(self.client_id()))
            .map_err(|source| ClientError::Wire {
                api: R::RANGE.key,
                source,
            })?;
        self.send_raw(correlation_id, frame)
    }

    /// A number for the next request, for callers that encode themselves.
    #[must_use]
    pub fn next_correlation_id(&self) -> i32 {
        let shared = &self.handle.shared;
        let id = shared.next_correlation_id.get();
        shared.next_correlation_id.set(id.wrapping_add(1));
        id
    }

    /// Sends a frame, size and all, that was encoded with this correlation id. It goes out in the
    /// order of these calls, with all others of this turn in one system call.
    pub fn send_raw(&self, correlation_id: i32, frame: Vec<Bytes>) -> Result<Reply, ClientError> {
        let slot = Slot::new(correlation_id);
        self.send_unanswered(frame)?;
        let shared = &self.handle.shared;
        shared.waiting.borrow_mut().push_back(Rc::clone(&slot));
        Ok(Reply::new(slot, shared.peer))
    }

    /// Sends a frame to which no answer comes: a produce with acks=0.
    pub fn send_unanswered(&self, frame: Vec<Bytes>) -> Result<(), ClientError> {
        let shared = &self.handle.shared;
        if let Some(reason) = self.failure() {
            return Err(ClientError::Closed {
                peer: shared.peer,
                reason,
            });
        }
        let mut outbox = shared.outbox.borrow_mut();
        if outbox.is_empty() {
            shared.outbox_changed.notify_one();
        }
        outbox.extend(frame);
        Ok(())
    }
}

impl Shared {
    /// Ends the connection: whoever waits, and whoever comes, learns the first reason.
    fn fail(&self, reason: &str) {
        let mut failure = self.failure.borrow_mut();
        if failure.is_some() {
            return;
        }
        let reason: Rc<str> = reason.into();
        *failure = Some(Rc::clone(&reason));
        drop(failure);
        self.stream.shutdown();
        self.outbox_changed.notify_one();
        self.answered.notify_all();
        for slot in std::mem::take(&mut *self.waiting.borrow_mut()) {
            slot.complete(Err(Rc::clone(&reason)));
        }
    }

    async fn write(self: Rc<Self>) {
        while self.failure.borrow().is_none() {
            let parts = std::mem::take(&mut *self.outbox.borrow_mut());
            if parts.is_empty() {
                self.outbox_changed.notified().await;
            } else if let Err(error) = self.stream.send(parts).await {
                self.fail(&format!("sending failed: {error}"));
            }
        }
    }

    async fn read(self: Rc<Self>) {
        let mut reader = FrameReader::new(self.settings.limits);
        loop {
            match read_frame(&self.stream, &mut reader, &Unplanned).await {
                Ok(Some(frame)) => {
                    if let Err(reason) = self.complete(frame.bytes) {
                        return self.fail(&reason);
                    }
                }
                Ok(None) => return self.fail("the broker closed it"),
                Err(error) => return self.fail(&error.to_string()),
            }
        }
    }

    /// Gives an answer to the request that has waited longest, whose it must be.
    fn complete(&self, frame: Bytes) -> Result<(), String> {
        let came = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
        let slot = self.waiting.borrow_mut().pop_front();
        match slot {
            Some(slot) if Some(slot.correlation_id) == came => {
                slot.complete(Ok(frame));
                self.answered.notify_one();
                Ok(())
            }
            Some(slot) => {
                let reason = format!(
                    "an answer with correlation id {came:?} came where {} was due",
                    slot.correlation_id
                );
                slot.complete(Err(reason.as_str().into()));
                Err(reason)
            }
            None => Err("an answer came to a request that was not made".to_owned()),
        }
    }
}
