//! A disk, a clock and an executor that a seed decides: operations complete in any order after
//! random delays, a crash keeps what was flushed and any part of the rest, and faults come when
//! asked for. The same seed gives the same history: compare [`Simulation::trace`].
//!
//! What a crash may do is what POSIX allows, which is more than ext4 does: an unflushed page
//! survives, or not, or is torn at 512 bytes; a directory entry survives only after the directory
//! was synced; a rename never loses the file. For tests only, but part of the crate so that the
//! broker's tests can drive whole shards on it.

mod executor;
mod fault;
mod namespace;
mod pages;
mod world;

use std::{
    cell::RefCell,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

pub use executor::{Crash, Joined, Simulation, Spawner};
pub use fault::{Effect, Fault, Operation};

use self::world::{Completion, World};
use super::{Clock, Disk, Flush, OpenMode, PAGE, aligned::AlignedBuf};

/// Milliseconds since the Unix epoch at which every simulation starts: 2025-01-01.
const EPOCH_MS: i64 = 1_735_689_600_000;

/// A handle to the simulated disk. After a crash, handles of before stay dead: nothing they ask
/// completes any more.
#[derive(Clone)]
pub struct SimulatedDisk {
    world: Rc<RefCell<World>>,
}

/// An open file of [`SimulatedDisk`].
#[derive(Clone, Debug)]
pub struct SimulatedFile {
    inode: u64,
    path: Rc<Path>,
}

impl SimulatedDisk {
    fn submit<T: 'static>(
        &self,
        operation: Operation,
        path: &Path,
        apply: impl FnOnce(&mut World) -> T + 'static,
    ) -> Completion<T> {
        World::submit(&self.world, operation, path, apply)
    }

    /// Asks for a fault. Faults are tried in the order they were asked for.
    pub fn inject(&self, fault: Fault) {
        self.world.borrow_mut().faults.push(fault);
    }

    /// Lets files of at most that many bytes in sum be created: more is ENOSPC.
    pub fn limit_space(&self, bytes: u64) {
        self.world.borrow_mut().space_bytes = bytes;
    }

    /// Whether there is a limit of space.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.world.borrow().space_bytes < u64::MAX
    }

    /// Forgets the faults that were asked for and lifts the limit of space.
    pub fn heal(&self) {
        let mut world = self.world.borrow_mut();
        world.faults.clear();
        world.space_bytes = u64::MAX;
    }

    /// Whether every fault that was asked for has come.
    #[must_use]
    pub fn is_harmed(&self) -> bool {
        let world = self.world.borrow();
        world.faults.iter().all(|fault| fault.times == 0)
    }

    /// Makes every operation take so many times as long.
    pub fn slow_down(&self, factor: u32) {
        self.world.borrow_mut().slowness = factor.max(1);
    }

    /// Flips one bit of what is stored, at once and durably.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u8) {
        let mut world = self.world.borrow_mut();
        let inode = world.names.inode(path).expect("a file to damage");
        let file = world.files.get_mut(&inode).expect("a named inode exists");
        file.flip_bit(position, bit);
    }

    /// What a reader would see, without an operation; nothing if there is no such file.
    #[must_use]
    pub fn peek(&self, path: &Path, position: u64, len: usize) -> Option<Vec<u8>> {
        let world = self.world.borrow();
        let file = world.files.get(&world.names.inode(path)?)?;
        let start = position - position % PAGE as u64;
        let skip = (position - start) as usize;
        let mut pages = vec![0; (skip + len).next_multiple_of(PAGE)];
        file.read(start, &mut pages);
        Some(pages[skip..skip + len].to_vec())
    }

    /// Every file there is, with its length.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let world = self.world.borrow();
        let len = |inode: u64| world.files.get(&inode).map_or(0, |f| f.len());
        world
            .names
            .files()
            .map(|(path, inode)| (path.to_owned(), len(inode)))
            .collect()
    }
}

fn aligned(position: u64, len: usize) {
    assert_eq!(
        position % PAGE as u64,
        0,
        "a transfer at {position}, not at a page"
    );
    assert_eq!(len % PAGE, 0, "a transfer of {len} bytes, not of pages");
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;
    type Buf = AlignedBuf;

    /// Filled with a pattern, not zeros: writing out what was never set must show in tests.
    fn buffer(&self, len: usize) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(len);
        buf.fill(0xA5);
        buf
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimulatedFile> {
        let (operation, name) = (Operation::Open, path.to_owned());
        let opened = self
            .submit(operation, path, move |world| world.open(&name, mode))
            .await;
        Ok(SimulatedFile {
            inode: opened?,
            path: path.into(),
        })
    }

    fn len(&self, file: &SimulatedFile) -> io::Result<u64> {
        let world = self.world.borrow();
        Ok(world.files.get(&file.inode).map_or(0, |f| f.len()))
    }

    async fn read(
        &self,
        file: &SimulatedFile,
        position: u64,
        mut buf: AlignedBuf,
    ) -> (io::Result<()>, AlignedBuf) {
        aligned(position, buf.len());
        let (inode, path) = (file.inode, Rc::clone(&file.path));
        let apply = move |world: &mut World| (world.read(inode, &path, position, &mut buf), buf);
        self.submit(Operation::Read, &file.path, apply).await
    }

    async fn write(
        &self,
        file: &SimulatedFile,
        position: u64,
        buf: AlignedBuf,
        flush: Flush,
    ) -> (io::Result<()>, AlignedBuf) {
        aligned(position, buf.len());
        let id = self
            .world
            .borrow_mut()
            .begin_write(file.inode, position, &buf);
        let path = Rc::clone(&file.path);
        let apply = move |world: &mut World| (world.finish_write(id, &path, flush), buf);
        self.submit(Operation::Write, &file.path, apply).await
    }

    async fn sync(&self, file: &SimulatedFile) -> io::Result<()> {
        let before = self.world.borrow_mut().next_order();
        let (inode, path) = (file.inode, Rc::clone(&file.path));
        let apply = move |world: &mut World| world.sync(inode, &path, before);
        self.submit(Operation::Sync, &file.path, apply).await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let before = self.world.borrow_mut().next_order();
        let name = dir.to_owned();
        let apply = move |world: &mut World| world.sync_dir(&name, before);
        self.submit(Operation::SyncDir, dir, apply).await
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let name = dir.to_owned();
        let apply = move |world: &mut World| world.create_dir(&name);
        self.submit(Operation::Names, dir, apply).await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let name = dir.to_owned();
        let apply = move |world: &mut World| Ok(world.names.list(&name));
        self.submit(Operation::Names, dir, apply).await
    }

    async fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        let (from, to) = (source.to_owned(), target.to_owned());
        let apply = move |world: &mut World| world.rename(&from, &to);
        self.submit(Operation::Names, source, apply).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let name = path.to_owned();
        let apply = move |world: &mut World| world.remove(&name);
        self.submit(Operation::Names, path, apply).await
    }
}

/// The simulation's clock: time moves only when every task waits.
#[derive(Clone)]
pub struct SimulatedClock {
    world: Rc<RefCell<World>>,
}

impl Clock for SimulatedClock {
    fn wall_ms(&self) -> i64 {
        let elapsed = self.elapsed().as_millis();
        EPOCH_MS + i64::try_from(elapsed).unwrap_or(i64::MAX / 2)
    }

    fn elapsed(&self) -> Duration {
        self.world.borrow().now()
    }

    async fn sleep(&self, duration: Duration) {
        World::submit_after(&self.world, duration, |_| ()).await;
    }
}
