//! The bytes between a client and a broker: a socket as it is, or with TLS over it. A plain socket
//! costs nothing more than without this.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::security::Tls;
use super::tls::TlsStream;
use crate::frame::Source;
use crate::reactor::{Received, TcpStream};

/// A way to a broker. Clones share it; one may receive while another sends.
#[derive(Clone)]
pub enum Channel {
    /// In the clear.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Rc<TlsStream>),
}

/// Bytes that came.
pub enum Chunk {
    /// From the reactor's own buffers.
    Plain(Received),
    /// Deciphered.
    Tls(BytesMut),
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Chunk::Plain(received) => received,
            Chunk::Tls(bytes) => bytes,
        }
    }
}

impl Channel {
    /// Connects; with TLS the broker has proved who it is when this returns. `host` is the name it
    /// was found by.
    pub async fn connect(
        peer: SocketAddr,
        host: Option<&str>,
        tls: Option<&Tls>,
    ) -> io::Result<Channel> {
        let stream = TcpStream::connect(peer).await?;
        let Some(tls) = tls else {
            return Ok(Channel::Plain(stream));
        };
        let session = tls.session(host, peer)?;
        let stream = TlsStream::handshake(stream, session).await?;
        Ok(Channel::Tls(Rc::new(stream)))
    }

    /// Sends all of it.
    pub async fn send(&self, pieces: Vec<Bytes>) -> io::Result<()> {
        match self {
            Channel::Plain(stream) => stream.send(pieces).await,
            Channel::Tls(stream) => stream.send(&pieces).await,
        }
    }

    /// The bytes that come next; none at the end.
    pub async fn receive(&self) -> io::Result<Chunk> {
        match self {
            Channel::Plain(stream) => stream.receive().await.map(Chunk::Plain),
            Channel::Tls(stream) => stream.receive().await.map(Chunk::Tls),
        }
    }

    /// Receives until the buffer has that length, or the stream ends.
    pub async fn receive_into(
        &self,
        buffer: BytesMut,
        until_len: usize,
    ) -> (io::Result<usize>, BytesMut) {
        match self {
            Channel::Plain(stream) => stream.receive_into(buffer, until_len).await,
            Channel::Tls(stream) => stream.receive_into(buffer, until_len).await,
        }
    }

    /// Ends both directions: whoever waits gets an error or the end.
    pub fn shutdown(&self) {
        match self {
            Channel::Plain(stream) => stream.shutdown(),
            Channel::Tls(stream) => stream.shutdown(),
        }
    }
}

impl Source for Channel {
    type Chunk = Chunk;

    fn receive(&self) -> impl Future<Output = io::Result<Chunk>> {
        Channel::receive(self)
    }

    fn receive_into(
        &self,
        buffer: BytesMut,
        until_len: usize,
    ) -> impl Future<Output = (io::Result<usize>, BytesMut)> {
        Channel::receive_into(self, buffer, until_len)
    }
}
