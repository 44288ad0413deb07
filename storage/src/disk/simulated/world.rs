//! Everything a seed decides: the queue of operations under way, when each completes, what it then
//! does, and the trace of it all.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    Operation,
    fault::{Effect, Fault},
    namespace::{Namespace, Node},
    pages::Inode,
};
use crate::{
    disk::{Flush, OpenMode, PAGE},
    hash::ChainHash,
};

/// A small generator (SplitMix64): its sequence must never change under a seed, which a crate's
/// next release does not promise.
#[derive(Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit.max(1)
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

type Event = Box<dyn FnOnce(&mut World) -> Option<Waker>>;

/// A write that was submitted and has not completed: a crash may leave any part of it.
#[derive(Clone)]
pub(super) struct WriteUnderWay {
    inode: u64,
    position: u64,
    bytes: Vec<u8>,
}

/// The state behind all handles of one simulation.
pub(super) struct World {
    pub(super) dice: Dice,
    now_ns: u64,
    /// Orders versions of pages and names, and breaks ties between events.
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    pub(super) names: Namespace,
    pub(super) files: BTreeMap<u64, Inode>,
    writes: BTreeMap<u64, WriteUnderWay>,
    pub(super) faults: Vec<Fault>,
    pub(super) space_bytes: u64,
    pub(super) slowness: u32,
    /// Steps of this machine so far, and how many it may take.
    pub(super) turns_taken: u64,
    pub(super) turns_limit: u64,
    trace: ChainHash,
}

struct Slot<T> {
    result: Option<T>,
    waker: Option<Waker>,
}

/// An operation under way. Dropping it changes nothing: the operation completes all the same.
pub(super) struct Completion<T>(Rc<RefCell<Slot<T>>>);

impl<T> Future for Completion<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.0.borrow_mut();
        match slot.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            dice: Dice(seed),
            now_ns: 0,
            order: 0,
            events: BTreeMap::new(),
            names: Namespace::default(),
            files: BTreeMap::new(),
            writes: BTreeMap::new(),
            faults: Vec::new(),
            space_bytes: u64::MAX,
            slowness: 1,
            turns_taken: 0,
            turns_limit: u64::MAX,
            trace: ChainHash::START,
        }
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns)
    }

    pub(super) fn trace(&self) -> ChainHash {
        self.trace
    }

    /// A number above all given out so far.
    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    fn note(&mut self, what: &str) {
        let line = format!("{} {what}", self.now_ns);
        self.trace = self.trace.then(line.as_bytes());
    }

    pub(super) fn submit<T: 'static>(
        world: &Rc<RefCell<World>>,
        operation: Operation,
        path: &Path,
        apply: impl FnOnce(&mut World) -> T + 'static,
    ) -> Completion<T> {
        let (delay, what) = {
            let mut world = world.borrow_mut();
            let what = format!("{operation:?} {}", path.display());
            world.note(&what);
            (world.latency(), what)
        };
        World::submit_after(world, delay, move |world| {
            world.note(&what);
            apply(world)
        })
    }

    pub(super) fn submit_after<T: 'static>(
        world: &Rc<RefCell<World>>,
        delay: Duration,
        apply: impl FnOnce(&mut World) -> T + 'static,
    ) -> Completion<T> {
        let slot = Rc::new(RefCell::new(Slot {
            result: None,
            waker: None,
        }));
        let completed = Rc::clone(&slot);
        let effect: Event = Box::new(move |world| {
            let result = apply(world);
            let mut slot = completed.borrow_mut();
            slot.result = Some(result);
            slot.waker.take()
        });
        let mut world = world.borrow_mut();
        let at = world.now_ns + delay.as_nanos() as u64;
        let key = (at, world.next_order());
        world.events.insert(key, effect);
        Completion(slot)
    }

    /// 20 us to 2 ms, and one in fifty up to 50 ms: disks have their moments.
    fn latency(&mut self) -> Duration {
        let limit_us = if self.dice.one_in(50) { 50_000 } else { 2_000 };
        let took = Duration::from_nanos(20_000 + self.dice.below(limit_us * 1_000));
        took * self.slowness
    }

    /// Lets the next event happen, if there is one not after `end`.
    pub(super) fn step(&mut self, end: Duration) -> Option<Option<Waker>> {
        let next = self.events.first_entry()?;
        let at = next.key().0;
        if Duration::from_nanos(at) > end {
            return None;
        }
        let effect = next.remove();
        self.now_ns = self.now_ns.max(at);
        Some(effect(self))
    }

    pub(super) fn advance_to(&mut self, end: Duration) {
        self.now_ns = self.now_ns.max(end.as_nanos() as u64);
    }

    fn fault(&mut self, operation: Operation, path: &Path) -> Option<Fault> {
        self.faults
            .iter_mut()
            .find_map(|f| f.hits(operation, path).then(|| f.clone()))
    }

    fn failing(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.fault(operation, path).map(|fault| fault.effect) {
            Some(Effect::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
        self.failing(Operation::Open, path)?;
        let OpenMode::Create { len } = mode else {
            return self
                .names
                .inode(path)
                .ok_or_else(|| io::ErrorKind::NotFound.into());
        };
        if self.names.get(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !path.parent().is_some_and(|dir| self.names.is_dir(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let used: u64 = self
            .names
            .files()
            .filter_map(|(_, i)| Some(self.files.get(&i)?.len()))
            .sum();
        if used.saturating_add(len) > self.space_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = self.next_order();
        self.files.insert(inode, Inode::new(len));
        self.names.set(path, inode, Some(Node::File(inode)));
        Ok(inode)
    }

    pub(super) fn read(
        &mut self,
        inode: u64,
        path: &Path,
        position: u64,
        out: &mut [u8],
    ) -> io::Result<()> {
        let effect = self.fault(Operation::Read, path).map(|fault| fault.effect);
        if let Some(Effect::Errno(errno)) = effect {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let file = self.files.get(&inode).ok_or(io::ErrorKind::NotFound)?;
        if position + out.len() as u64 > file.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.read(position, out);
        if effect == Some(Effect::Stale) {
            let pages = file.former_pages(position, out.len());
            if !pages.is_empty() {
                let page = *self.dice.pick(&pages);
                file.read_former(page, position, out);
            }
        }
        if effect == Some(Effect::FlippedBit) {
            let at = self.dice.below(out.len() as u64) as usize;
            out[at] ^= 1 << self.dice.below(8);
        }
        Ok(())
    }

    pub(super) fn begin_write(&mut self, inode: u64, position: u64, bytes: &[u8]) -> u64 {
        let id = self.next_order();
        let content = self.trace.then(bytes);
        self.trace = content;
        self.writes.insert(
            id,
            WriteUnderWay {
                inode,
                position,
                bytes: bytes.to_vec(),
            },
        );
        id
    }

    pub(super) fn finish_write(&mut self, id: u64, path: &Path, flush: Flush) -> io::Result<()> {
        let effect = self.fault(Operation::Write, path).map(|fault| fault.effect);
        let Some(mut write) = self.writes.remove(&id) else {
            return Ok(());
        };
        match effect {
            Some(Effect::Errno(errno)) => {
                self.land_partly(&write);
                return Err(io::Error::from_raw_os_error(errno));
            }
            Some(Effect::Lost) => return Ok(()),
            Some(Effect::Cut) => write.bytes.truncate(write.bytes.len() / PAGE / 2 * PAGE),
            Some(Effect::Misdirected) => self.misdirect(&mut write),
            _ => {}
        }
        let order = self.next_order();
        let file = self
            .files
            .get_mut(&write.inode)
            .ok_or(io::ErrorKind::NotFound)?;
        let first = write.position / PAGE as u64;
        for (number, page) in (first..).zip(write.bytes.chunks_exact(PAGE)) {
            file.write_page(number, order, page);
            if flush == Flush::Data {
                file.flush_page(number);
            }
        }
        Ok(())
    }

    /// Sends the write to other pages that were written before, if the file has any.
    fn misdirect(&mut self, write: &mut WriteUnderWay) {
        let own = write.position / PAGE as u64;
        let pages = (write.bytes.len() / PAGE) as u64;
        let Some(file) = self.files.get(&write.inode) else {
            return;
        };
        let other: Vec<u64> = file
            .written_pages()
            .filter(|page| !(own..own + pages).contains(page))
            .collect();
        let len = file.len();
        if other.is_empty() {
            write.bytes.clear();
        } else {
            write.position = *self.dice.pick(&other) * PAGE as u64;
            let room = len.saturating_sub(write.position) as usize;
            write.bytes.truncate(room / PAGE * PAGE);
        }
    }

    /// Any of the write's pages become visible; none of them is durable.
    fn land_partly(&mut self, write: &WriteUnderWay) {
        let order = self.next_order();
        let Some(file) = self.files.get_mut(&write.inode) else {
            return;
        };
        let first = write.position / PAGE as u64;
        for (number, page) in (first..).zip(write.bytes.chunks_exact(PAGE)) {
            if self.dice.one_in(2) {
                file.write_page(number, order, page);
            }
        }
    }

    pub(super) fn sync(&mut self, inode: u64, path: &Path, before: u64) -> io::Result<()> {
        self.failing(Operation::Sync, path)?;
        self.files
            .get_mut(&inode)
            .ok_or(io::ErrorKind::NotFound)?
            .sync(before);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path, before: u64) -> io::Result<()> {
        self.failing(Operation::SyncDir, dir)?;
        if !self.names.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.names.sync_dir(dir, before);
        Ok(())
    }

    pub(super) fn create_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.failing(Operation::Names, dir)?;
        let missing: Vec<PathBuf> = dir
            .ancestors()
            .filter(|d| !self.names.is_dir(d))
            .map(Path::to_owned)
            .collect();
        for dir in missing {
            self.names.set_durable(&dir, Some(Node::Dir));
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, source: &Path, target: &Path) -> io::Result<()> {
        self.failing(Operation::Names, source)?;
        let there = self.names.inode(source).is_some();
        if !there || !target.parent().is_some_and(|dir| self.names.is_dir(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let order = self.next_order();
        self.names.rename(source, target, order);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.failing(Operation::Names, path)?;
        let order = self.next_order();
        self.names.remove(path, order);
        Ok(())
    }

    /// The world after the power failed: nothing is under way, and of what was not durable any
    /// part is there.
    pub(super) fn after_power_failure(&mut self) -> World {
        let writes = std::mem::take(&mut self.writes);
        for write in writes.values() {
            self.land_partly(write);
        }
        let mut next = self.successor();
        for file in next.files.values_mut() {
            file.survive(&mut next.dice);
        }
        next.names.survive(&mut next.dice);
        next
    }

    /// The world after the process died alone: everything written is there, and writes that were
    /// under way land, or not, up to three seconds later (S1).
    pub(super) fn after_kill(&mut self) -> World {
        let writes = std::mem::take(&mut self.writes);
        let mut next = self.successor();
        next.names.settle();
        next.files.values_mut().for_each(Inode::settle);
        for write in writes.into_values() {
            let at = next.now_ns + next.dice.below(3_000_000_000);
            let key = (at, next.next_order());
            let land: Event = Box::new(move |world| {
                world.land_partly(&write);
                None
            });
            next.events.insert(key, land);
        }
        next
    }

    fn successor(&mut self) -> World {
        self.note("crash");
        World {
            dice: Dice(self.dice.roll()),
            now_ns: self.now_ns,
            order: self.order,
            events: BTreeMap::new(),
            names: self.names.clone(),
            files: self.files.clone(),
            writes: BTreeMap::new(),
            faults: Vec::new(),
            space_bytes: self.space_bytes,
            slowness: 1,
            turns_taken: 0,
            turns_limit: u64::MAX,
            trace: self.trace,
        }
    }
}
