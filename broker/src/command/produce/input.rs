//! Standard input as records: a thread of its own reads, for reading a terminal blocks.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
};

/// Bytes asked from the system at once.
const BLOCK_BYTES: usize = 256 << 10;

/// Blocks read ahead of the broker: 4 MiB.
const BLOCKS_AHEAD: usize = 16;

/// Longest line: no broker takes a larger record.
const LINE_BYTES_MAX: usize = 64 << 20;

/// One line taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// What stood before the separator.
    pub key: Option<&'a [u8]>,
    /// The rest.
    pub value: &'a [u8],
}

impl<'a> Line<'a> {
    /// A line without its end. Without the separator in it, all of it is the value.
    #[must_use]
    pub fn parse(line: &'a [u8], separator: Option<&str>) -> Line<'a> {
        let found = separator.and_then(|separator| {
            let bytes = separator.as_bytes();
            let at = line
                .windows(bytes.len())
                .position(|window| window == bytes)?;
            Some((&line[..at], &line[at + bytes.len()..]))
        });
        match found {
            Some((key, value)) => Line {
                key: Some(key),
                value,
            },
            None => Line {
                key: None,
                value: line,
            },
        }
    }
}

/// Whole lines, each with its end but perhaps the last.
pub type Block = Vec<u8>;

/// The lines of a block, without their ends.
pub fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

/// What the reading thread has sent.
pub struct Blocks {
    blocks: Receiver<io::Result<Block>>,
    sent: Arc<AtomicU64>,
    taken: Arc<AtomicU64>,
}

/// A look at the queue.
#[derive(Debug)]
pub enum Next {
    /// Lines.
    Block(Block),
    /// Nothing yet.
    Pending,
    /// Nothing ever again.
    End,
    /// Reading failed.
    Failed(io::Error),
}

impl Blocks {
    /// Reads `input` on a thread of its own; `wake` is called after each block and at the end.
    pub fn read(input: impl Read + Send + 'static, wake: impl Fn() + Send + 'static) -> Blocks {
        let (sender, blocks) = sync_channel(BLOCKS_AHEAD);
        let (sent, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&sent);
        // Never joined: it may be inside a read of a terminal that never comes back.
        drop(thread::spawn(move || {
            let end = read_blocks(input, &sender, &|| {
                counter.fetch_add(1, Ordering::Release);
                wake();
            });
            if let Err(error) = end {
                drop(sender.send(Err(error)));
            }
            drop(sender);
            counter.fetch_add(1, Ordering::Release);
            wake();
        }));
        Blocks {
            blocks,
            sent,
            taken,
        }
    }

    /// Says, from the reactor's loop, whether [`Blocks::next`] has something new to say.
    pub fn probe(&self) -> impl FnMut() -> bool + 'static {
        let (sent, taken) = (Arc::clone(&self.sent), Arc::clone(&self.taken));
        move || sent.load(Ordering::Acquire) > taken.load(Ordering::Relaxed)
    }

    /// What comes next, without waiting.
    pub fn next(&self) -> Next {
        let seen = self.sent.load(Ordering::Acquire);
        match self.blocks.try_recv() {
            Ok(block) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                block.map_or_else(Next::Failed, Next::Block)
            }
            Err(TryRecvError::Empty) => {
                self.taken.store(seen, Ordering::Relaxed);
                Next::Pending
            }
            Err(TryRecvError::Disconnected) => {
                self.taken.store(seen, Ordering::Relaxed);
                Next::End
            }
        }
    }
}

/// Sends whole lines as soon as they are there: someone may be typing.
fn read_blocks(
    mut input: impl Read,
    sender: &SyncSender<io::Result<Block>>,
    sent: &dyn Fn(),
) -> io::Result<()> {
    let mut begun = Vec::new();
    loop {
        let before = begun.len();
        begun.resize(before + BLOCK_BYTES, 0);
        let read = match input.read(&mut begun[before..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Ok(0) => {
                begun.truncate(before);
                if !begun.is_empty() && sender.send(Ok(begun)).is_ok() {
                    sent();
                }
                return Ok(());
            }
            read => read?,
        };
        begun.truncate(before + read);
        let Some(end) = begun[before..].iter().rposition(|byte| *byte == b'\n') else {
            if begun.len() > LINE_BYTES_MAX {
                let text = format!("a line is longer than {LINE_BYTES_MAX} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            continue;
        };
        let rest = begun.split_off(before + end + 1);
        if sender
            .send(Ok(std::mem::replace(&mut begun, rest)))
            .is_err()
        {
            return Ok(());
        }
        sent();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn all(blocks: &Blocks) -> Vec<Vec<u8>> {
        let mut probe = blocks.probe();
        let mut found = Vec::new();
        loop {
            match blocks.next() {
                Next::Block(block) => found.extend(lines(&block).map(<[u8]>::to_vec)),
                Next::Pending => {
                    while !probe() {
                        thread::sleep(Duration::from_micros(50));
                    }
                }
                Next::End => return found,
                Next::Failed(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn every_line_comes_once_and_in_order() {
        let text: Vec<u8> = (0..200_000)
            .flat_map(|n| format!("line {n}\n").into_bytes())
            .collect();
        let found = all(&Blocks::read(io::Cursor::new(text), || {}));
        assert_eq!(found.len(), 200_000);
        assert!(
            found
                .iter()
                .enumerate()
                .all(|(n, line)| *line == format!("line {n}").into_bytes())
        );
    }

    #[test]
    fn empty_lines_count_and_the_last_needs_no_end() {
        let found = all(&Blocks::read(io::Cursor::new(b"a\n\nb".to_vec()), || {}));
        assert_eq!(found, [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]);
        assert!(all(&Blocks::read(io::empty(), || {})).is_empty());
    }

    #[test]
    fn a_failed_read_is_told() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let blocks = Blocks::read(Broken, || {});
        loop {
            match blocks.next() {
                Next::Pending => thread::sleep(Duration::from_micros(50)),
                Next::Failed(error) => return assert_eq!(error.to_string(), "gone"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_first_separator_ends_the_key() {
        let line = Line::parse(b"a:b:c", Some(":"));
        assert_eq!(
            line,
            Line {
                key: Some(b"a"),
                value: b"b:c"
            }
        );
        assert_eq!(
            Line::parse(b"abc", Some(":")),
            Line {
                key: None,
                value: b"abc"
            }
        );
        assert_eq!(
            Line::parse(b"a:b", None),
            Line {
                key: None,
                value: b"a:b"
            }
        );
        let line = Line::parse(b"a=>b", Some("=>"));
        assert_eq!(
            line,
            Line {
                key: Some(b"a"),
                value: b"b"
            }
        );
    }
}
