//! TLS over a socket: rustls keeps the session and does the cryptography, this moves its bytes. The
//! ciphertext of concurrent senders leaves in the order in which it was made.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use rustls::ClientConnection;

use crate::reactor::{Notify, TcpStream};

/// Plaintext that is enciphered before the socket gets it: some full TLS records.
const STEP_BYTES: usize = 256 << 10;

/// An encrypted connection.
pub struct TlsStream {
    socket: TcpStream,
    session: RefCell<ClientConnection>,
    /// Plaintext that nobody has asked for yet.
    deciphered: RefCell<BytesMut>,
    /// Whether the broker has said that nothing follows: the session takes no bytes after that.
    is_ended: Cell<bool>,
    is_sending: Cell<bool>,
    sent: Notify,
}

/// The right to hand ciphertext to the socket.
struct Turn<'a>(&'a TlsStream);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.is_sending.set(false);
        self.0.sent.notify_one();
    }
}

impl TlsStream {
    /// Agrees with the broker, and checks its certificate.
    pub(super) async fn handshake(
        socket: TcpStream,
        session: ClientConnection,
    ) -> io::Result<TlsStream> {
        let stream = TlsStream {
            socket,
            session: RefCell::new(session),
            deciphered: RefCell::default(),
            is_ended: Cell::new(false),
            is_sending: Cell::new(false),
            sent: Notify::new(),
        };
        stream.flush().await?;
        while stream.session.borrow().is_handshaking() {
            if !stream.take_in().await? {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the broker closed the connection during the TLS handshake: does this port \
                     speak TLS, and does it ask for a client certificate?",
                ));
            }
        }
        Ok(stream)
    }

    /// Sends all of it.
    pub(super) async fn send(&self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            for step in piece.chunks(STEP_BYTES) {
                self.session.borrow_mut().writer().write_all(step)?;
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// The bytes that come next; none at the end.
    pub(super) async fn receive(&self) -> io::Result<BytesMut> {
        while self.deciphered.borrow().is_empty() {
            if !self.take_in().await? {
                return Ok(BytesMut::new());
            }
        }
        Ok(self.deciphered.borrow_mut().split())
    }

    /// Receives until the buffer has that length, or the stream ends.
    pub(super) async fn receive_into(
        &self,
        mut buffer: BytesMut,
        until_len: usize,
    ) -> (io::Result<usize>, BytesMut) {
        let before = buffer.len();
        while buffer.len() < until_len {
            {
                let mut here = self.deciphered.borrow_mut();
                let taken = here.len().min(until_len - buffer.len());
                buffer.extend_from_slice(&here[..taken]);
                here.advance(taken);
            }
            if buffer.len() == until_len {
                break;
            }
            match self.take_in().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(buffer.len() - before), buffer)
    }

    pub(super) fn shutdown(&self) {
        self.socket.shutdown();
    }

    /// Receives once and deciphers what came; false at the end.
    async fn take_in(&self) -> io::Result<bool> {
        if self.is_ended.get() {
            return Ok(false);
        }
        let received = self.socket.receive().await?;
        if received.is_empty() {
            return Ok(false);
        }
        let mut rest = &received[..];
        while !rest.is_empty() && !self.is_ended.get() {
            self.decipher(&mut rest)?;
        }
        let has_answer = self.session.borrow().wants_write();
        if has_answer {
            // A step of the handshake, a new key, or the alert that says what is wrong.
            self.flush().await?;
        }
        Ok(true)
    }

    fn decipher(&self, rest: &mut &[u8]) -> io::Result<()> {
        let mut session = self.session.borrow_mut();
        session.read_tls(rest)?;
        let state = session.process_new_packets().map_err(io::Error::other)?;
        self.is_ended.set(state.peer_has_closed());
        let ready = state.plaintext_bytes_to_read();
        let mut deciphered = self.deciphered.borrow_mut();
        let before = deciphered.len();
        deciphered.resize(before + ready, 0);
        session.reader().read_exact(&mut deciphered[before..])
    }

    async fn flush(&self) -> io::Result<()> {
        while self.is_sending.replace(true) {
            self.sent.notified().await;
        }
        let _turn = Turn(self);
        loop {
            let mut ciphertext = Vec::new();
            {
                let mut session = self.session.borrow_mut();
                while session.wants_write() {
                    session.write_tls(&mut ciphertext)?;
                }
            }
            if ciphertext.is_empty() {
                return Ok(());
            }
            self.socket.send(vec![ciphertext.into()]).await?;
        }
    }
}
