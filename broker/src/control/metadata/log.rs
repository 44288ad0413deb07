//! What carries metadata records: today a local log, later a Raft log. The metadata asks no more
//! of it than this, so that the one can take the other's place.

use std::io;

/// A durable sequence of entries with a snapshot before them.
pub trait MetadataLog: Send {
    /// Appends an entry, durable when it returns.
    ///
    /// # Errors
    /// After one, nothing may be appended any more: what is durable is not known (S10).
    fn append(&mut self, entry: &[u8]) -> io::Result<()>;

    /// Puts a snapshot in the place of everything before it, durable when it returns.
    ///
    /// # Errors
    /// The old snapshot and its entries are then still there.
    fn snapshot(&mut self, snapshot: &[u8]) -> io::Result<()>;
}

/// What a log held when it was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    /// The last snapshot, if one was ever taken.
    pub snapshot: Option<Vec<u8>>,
    /// Every entry after it, in order.
    pub entries: Vec<Vec<u8>>,
}

/// A log in memory, for tests; clones share it.
#[cfg(test)]
#[derive(Clone, Default)]
pub struct MemoryLog {
    /// What a reader would find.
    pub held: std::sync::Arc<std::sync::Mutex<Opened>>,
    /// Whether the next write fails.
    pub broken: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

#[cfg(test)]
impl MemoryLog {
    /// What a start would read.
    pub fn reopen(&self) -> Opened {
        self.held.lock().expect("no test panics with it").clone()
    }

    fn check(&self) -> io::Result<()> {
        let broken = self.broken.load(std::sync::atomic::Ordering::Relaxed);
        if broken {
            Err(io::Error::other("the disk is gone"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
impl MetadataLog for MemoryLog {
    fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        self.check()?;
        self.held
            .lock()
            .expect("no test panics with it")
            .entries
            .push(entry.to_owned());
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &[u8]) -> io::Result<()> {
        self.check()?;
        let mut held = self.held.lock().expect("no test panics with it");
        *held = Opened {
            snapshot: Some(snapshot.to_owned()),
            entries: Vec::new(),
        };
        Ok(())
    }
}
