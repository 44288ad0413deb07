//! The floor: a server on the same reactor that does the least a durable broker can do. It writes
//! what it receives, several requests with one `RWF_DSYNC` write if they came meanwhile, into a
//! file that was written before, past the page cache, and answers. Nothing is kept in order,
//! indexed or checked; nothing can be read back. What it takes is the device's and the kernel's.
//!
//! Around that it speaks just enough Kafka for the driver to treat it like any broker. With
//! `--discard` it writes nothing and answers at once: what it takes then is the driver's.

mod reply;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{io, mem};

use bytes::Bytes;
use spate_net::frame::{FrameLimits, FrameReader, Unplanned, read_frame};
use spate_net::reactor::buffers::{DMA_ALIGN, DmaBuf, dma_buffer, registered_buffer};
use spate_net::reactor::{
    File, FileOptions, Notify, Reactor, ReactorChoice, ReactorConfig, ReactorError, TcpListener,
    TcpStream, spawn,
};

use self::reply::{Broker, Reply};

/// Writes under way, as many as a Spate shard has.
const WRITES_MAX: u64 = 2;
/// The file is overwritten from the start when its end is reached.
const FILE_BYTES: u64 = 256 << 20;
/// Bytes of one write at most.
const WRITE_BYTES_MAX: usize = 8 << 20;
const FILL_BYTES: usize = 1 << 20;

/// Where the floor is.
#[derive(Clone, Debug, clap::Args)]
pub struct FloorOptions {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Directory of the file that is written to, on the disk to be measured
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Write nothing, and answer at once: to see what the driver itself can do
    #[arg(long, conflicts_with = "dir")]
    pub discard: bool,
    /// How the server talks to the kernel
    #[arg(long, default_value_t = ReactorChoice::Auto)]
    pub reactor: ReactorChoice,
}

/// Why the floor could not be laid.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// No reactor.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// The port or the file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A request whose bytes are to be written.
struct Durable {
    connection: Rc<Client>,
    frame: Bytes,
    answer: Bytes,
}

/// A connected client and the answers it is to get.
struct Client {
    stream: TcpStream,
    answers: RefCell<Vec<Bytes>>,
    answered: Notify,
    /// Nothing more comes from it: its socket is to be let go.
    gone: Cell<bool>,
}

struct Floor {
    broker: Broker,
    /// None if nothing is written.
    file: Option<File>,
    queue: RefCell<Vec<Durable>>,
    queued: Notify,
    position: Cell<u64>,
    /// Writes are numbered, and answered in that order.
    next_write: Cell<u64>,
    next_answer: Cell<u64>,
    turned: Notify,
}

/// Serves until the process ends. Calls `listening` with the address once it does.
pub fn serve(options: &FloorOptions, listening: impl FnOnce(SocketAddr)) -> Result<(), FloorError> {
    let config = ReactorConfig {
        choice: options.reactor,
        ..ReactorConfig::default()
    };
    let mut reactor = Reactor::new(&config)?;
    reactor.block_on(async {
        let listener = TcpListener::bind(options.listen, false);
        let listener = listener.map_err(io_error(format!("listening on {}", options.listen)))?;
        let address = listener
            .local_addr()
            .map_err(io_error("the address".to_owned()))?;
        let path = options.dir.join(format!("floor-{}", std::process::id()));
        let file = match options.discard {
            true => None,
            false => Some(
                lay(&path)
                    .await
                    .map_err(io_error(path.display().to_string()))?,
            ),
        };
        let floor = Rc::new(Floor {
            broker: Broker::new(address),
            file,
            queue: RefCell::default(),
            queued: Notify::new(),
            position: Cell::new(0),
            next_write: Cell::new(0),
            next_answer: Cell::new(0),
            turned: Notify::new(),
        });
        for _ in 0..WRITES_MAX {
            spawn(Rc::clone(&floor).write_all()).detach();
        }
        listening(address);
        loop {
            let accepted = listener.accept().await;
            let (stream, _) = accepted.map_err(io_error("accepting".to_owned()))?;
            let answers = RefCell::default();
            let client = Rc::new(Client {
                stream,
                answers,
                answered: Notify::new(),
                gone: Cell::new(false),
            });
            spawn(Rc::clone(&client).send_all()).detach();
            spawn(Rc::clone(&floor).receive_all(client)).detach();
        }
    })
}

fn io_error(what: String) -> impl FnOnce(io::Error) -> FloorError {
    move |source| FloorError::Io { what, source }
}

/// Makes the file, and writes it once from end to end: a block that was only allocated costs a
/// write of the file system's journal when it is first written, and that is not the floor.
async fn lay(path: &Path) -> io::Result<File> {
    let options = FileOptions {
        write: true,
        create_len: Some(FILE_BYTES),
        direct: true,
    };
    let file = File::open(path, options).await?;
    // It lives as long as the process, and takes no one's space after.
    std::fs::remove_file(path)?;
    let mut zeros = dma_buffer(FILL_BYTES);
    for position in (0..FILE_BYTES).step_by(FILL_BYTES) {
        let (written, buffer) = file.write(position, zeros, false).await;
        written?;
        zeros = buffer;
    }
    file.sync_data().await?;
    Ok(file)
}

impl Floor {
    async fn receive_all(self: Rc<Self>, client: Rc<Client>) {
        let mut reader = FrameReader::new(FrameLimits::default());
        while let Ok(Some(frame)) = read_frame(&client.stream, &mut reader, &Unplanned).await {
            self.take(&client, frame.bytes);
        }
        client.stream.shutdown();
        client.gone.set(true);
        client.answered.notify_one();
    }

    fn take(&self, client: &Rc<Client>, frame: Bytes) {
        match self.broker.reply(&frame) {
            Some(Reply::AtOnce(answer)) => client.answer(answer),
            Some(Reply::WhenDurable(answer)) if self.file.is_none() => client.answer(answer),
            Some(Reply::WhenDurable(answer)) => {
                let connection = Rc::clone(client);
                self.queue.borrow_mut().push(Durable {
                    connection,
                    frame,
                    answer,
                });
                self.queued.notify_one();
            }
            None => client.stream.shutdown(),
        }
    }

    /// One of the writers: everything that came since the last write goes into the next.
    async fn write_all(self: Rc<Self>) {
        let Some(file) = &self.file else { return };
        loop {
            let batch = self.next_batch();
            if batch.is_empty() {
                self.queued.notified().await;
                continue;
            }
            let buffer = fill(&batch);
            let position = self.take_position(buffer.len() as u64);
            let number = self.next_write.replace(self.next_write.get() + 1);
            let (written, _) = file.write(position, buffer, true).await;
            while self.next_answer.get() != number {
                self.turned.notified().await;
            }
            for request in batch {
                match written {
                    Ok(()) => request.connection.answer(request.answer),
                    // Nothing is durable any more: the driver sees lost connections.
                    Err(_) => request.connection.stream.shutdown(),
                }
            }
            self.next_answer.set(number + 1);
            self.turned.notify_all();
        }
    }

    fn next_batch(&self) -> Vec<Durable> {
        let mut queue = self.queue.borrow_mut();
        let mut bytes = 0;
        let fits = |request: &&Durable| {
            bytes += request.frame.len();
            bytes <= WRITE_BYTES_MAX
        };
        let count = queue
            .iter()
            .take_while(fits)
            .count()
            .max(queue.len().min(1));
        let rest = queue.split_off(count);
        if !rest.is_empty() {
            self.queued.notify_one();
        }
        mem::replace(&mut *queue, rest)
    }

    fn take_position(&self, len: u64) -> u64 {
        let position = self.position.get();
        let position = if position + len > FILE_BYTES {
            0
        } else {
            position
        };
        self.position.set(position + len);
        position
    }
}

/// The requests' bytes, up to whole pages.
fn fill(batch: &[Durable]) -> DmaBuf {
    let bytes: usize = batch.iter().map(|request| request.frame.len()).sum();
    let len = bytes.next_multiple_of(DMA_ALIGN);
    let mut buffer = registered_buffer(len).unwrap_or_else(|| dma_buffer(len));
    let mut at = 0;
    for request in batch {
        buffer[at..at + request.frame.len()].copy_from_slice(&request.frame);
        at += request.frame.len();
    }
    buffer
}

impl Client {
    fn answer(&self, answer: Bytes) {
        self.answers.borrow_mut().push(answer);
        self.answered.notify_one();
    }

    async fn send_all(self: Rc<Self>) {
        loop {
            let answers = mem::take(&mut *self.answers.borrow_mut());
            if answers.is_empty() {
                if self.gone.get() {
                    return;
                }
                self.answered.notified().await;
                continue;
            }
            if self.stream.send(answers).await.is_err() {
                return;
            }
        }
    }
}
