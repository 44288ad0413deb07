//! Files from the housekeeper: a few ready ahead, so that a seal finds one, and the way of one from
//! the pool to its partition. What the housekeeper cannot do now is asked again later.

use super::{Store, operation::Completion};
use crate::{
    disk::{Clock, Disk, OpenMode},
    housekeeper::{Done, Job},
    journal::{ReadyFile, slot_of},
    partition::{Log, Partition, SegmentSlot},
    pool::{FileKind, PreparedFile, SizeClass},
    segment::{SegmentError, SegmentFile, SegmentName, partition_dir},
    space::{Level, is_no_space},
};
use std::{
    collections::{HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

/// After a failed job, for instance on a full disk.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Files of a class kept ready once the shard uses that class.
const READY: usize = 2;
const CLASSES: usize = SizeClass::ALL.len();

/// A partition that wants a file.
struct Wish<D: Disk> {
    partition: Rc<Partition<D>>,
    name: SegmentName,
    class: SizeClass,
}

/// What is ready, asked for and wished for.
pub(super) struct Stock<D: Disk> {
    ready: [Vec<PreparedFile>; CLASSES],
    asked: [usize; CLASSES],
    wanted: [usize; CLASSES],
    wishes: VecDeque<Wish<D>>,
    /// Files on the way to their partition, by the path they are going to.
    placing: HashMap<PathBuf, (Rc<Partition<D>>, SegmentName)>,
    /// Jobs for which the ring had no slot, oldest first.
    jobs: VecDeque<Job>,
    failed: Vec<Job>,
    /// Space was short when last looked at.
    is_short: bool,
    /// Files that are there and could not be opened, for instance for want of descriptors.
    unopened: Vec<PreparedFile>,
    /// Partitions whose last file could not be opened for such a reason.
    unopened_last: Vec<Rc<Partition<D>>>,
}

impl<D: Disk> Stock<D> {
    pub(super) fn new() -> Stock<D> {
        Stock {
            ready: Default::default(),
            asked: [0; CLASSES],
            // The larger ones cost disk space, and a shard that never fills a small one needs none.
            wanted: [READY, READY, 0, 0],
            wishes: VecDeque::new(),
            placing: HashMap::new(),
            jobs: VecDeque::new(),
            failed: Vec::new(),
            is_short: false,
            unopened: Vec::new(),
            unopened_last: Vec::new(),
        }
    }

    /// Gives up what lies ready: no wish waits for it, and space is short.
    fn give_back(&mut self) {
        let ready = self.ready.iter_mut().flat_map(std::mem::take);
        self.jobs
            .extend(ready.map(|file| Job::Unlink { path: file.path }));
    }

    fn wished_for(&self, class: SizeClass) -> usize {
        self.wishes
            .iter()
            .filter(|wish| wish.class == class)
            .count()
    }
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// Takes the housekeeper's answer.
    pub fn housekeeper_done(&self, done: Done) {
        match done {
            Done::Segment(file) => self.take_ready(file),
            Done::Placed(file) => self.take_placed(file),
            Done::Journal(file) => self.take_journal(&file),
            Done::Compacted { ticket, progress } => self.take_progress(ticket, progress),
            Done::Scrubbed(done) => self.scrubbed(done),
            Done::Failed {
                job: Job::Scrub(_), ..
            } => self.scrub_failed(),
            Done::Recycled(_) | Done::TopicRemoved(_) | Done::Unlinked(_) | Done::ThinnedOut => {}
            // Its directory went with the topic.
            Done::Failed {
                job: Job::Place { file, target },
                ..
            } if self.is_for_dropped(&target) => {
                self.stock.borrow_mut().placing.remove(&target);
                self.discard_file(&file.path);
            }
            Done::Failed { job, error } => {
                // Of a full disk everybody is told once, by the gauge.
                match is_no_space(&error) {
                    true => tracing::debug!(?job, %error, "no space; asked again in a second"),
                    false => {
                        tracing::warn!(?job, %error, "housekeeping failed; tried again soon");
                    }
                }
                self.stock.borrow_mut().failed.push(job);
                self.try_later();
            }
        }
        self.signal.wake();
    }

    fn is_for_dropped(&self, target: &Path) -> bool {
        let stock = self.stock.borrow();
        let placing = stock.placing.get(target);
        placing.is_some_and(|(partition, _)| partition.is_dropped.get())
    }

    pub(super) fn ask(&self, job: Job) {
        self.stock.borrow_mut().jobs.push_back(job);
        self.signal.wake();
    }

    fn try_later(&self) {
        self.rhythm.retry_at.set(Some(self.elapsed() + RETRY_AFTER));
    }

    pub(super) fn ask_again(&self) {
        let mut stock = self.stock.borrow_mut();
        let failed = std::mem::take(&mut stock.failed);
        stock.jobs.extend(failed);
        let unopened = std::mem::take(&mut stock.unopened);
        let unopened_last = std::mem::take(&mut stock.unopened_last);
        drop(stock);
        for file in unopened {
            match file.kind {
                FileKind::Journal => self.take_journal(&file),
                FileKind::Segment => self.take_placed(file),
            }
        }
        for partition in unopened_last {
            self.queue_seal(&partition);
        }
    }

    /// Fills up the stock and hands jobs over while the ring has slots.
    pub(super) fn send_chores(&self) {
        let mut stock = self.stock.borrow_mut();
        let is_short = self.config.space.level() != Level::Ample;
        if is_short {
            stock.give_back();
        }
        if is_short && !std::mem::replace(&mut stock.is_short, is_short) {
            stock.jobs.push_back(Job::ThinOut);
        }
        stock.is_short = is_short;
        for (at, class) in SizeClass::ALL.into_iter().enumerate() {
            let is_short = is_short || !self.config.space.admits_ahead(2 * class.bytes());
            let wanted = if is_short {
                stock.wished_for(class).min(READY)
            } else {
                stock.wanted[at]
            };
            while stock.ready[at].len() + stock.asked[at] < wanted {
                stock.asked[at] += 1;
                stock.jobs.push_back(Job::PrepareSegment { class });
            }
        }
        while let Some(job) = stock.jobs.pop_front() {
            if let Err(job) = self.chores.send(job) {
                stock.jobs.push_front(job);
                return;
            }
        }
    }

    /// Has a file of `class` brought to the partition.
    pub(super) fn fetch_file(
        &self,
        partition: &Rc<Partition<D>>,
        name: SegmentName,
        class: SizeClass,
    ) {
        let mut stock = self.stock.borrow_mut();
        let next = class.next();
        stock.wanted[class as usize] = stock.wanted[class as usize].max(READY);
        stock.wanted[next as usize] = stock.wanted[next as usize].max(1);
        stock.wishes.push_back(Wish {
            partition: Rc::clone(partition),
            name,
            class,
        });
        drop(stock);
        self.grant_wishes();
    }

    fn grant_wishes(&self) {
        let mut stock = self.stock.borrow_mut();
        let wishes = std::mem::take(&mut stock.wishes);
        for wish in wishes {
            let Some(file) = stock.ready[wish.class as usize].pop() else {
                // The wish counts on top of what is kept ready.
                let at = wish.class as usize;
                stock.wanted[at] = stock.wanted[at].max(READY);
                stock.wishes.push_back(wish);
                continue;
            };
            let dir = partition_dir(&self.config.data, wish.partition.tp);
            let target = dir.join(wish.name.to_string());
            stock
                .placing
                .insert(target.clone(), (wish.partition, wish.name));
            stock.jobs.push_back(Job::Place { file, target });
        }
        self.signal.wake();
    }

    fn take_ready(&self, file: PreparedFile) {
        let Some(class) = SizeClass::of_len(file.len) else {
            return;
        };
        let mut stock = self.stock.borrow_mut();
        stock.asked[class as usize] = stock.asked[class as usize].saturating_sub(1);
        stock.ready[class as usize].push(file);
        drop(stock);
        self.grant_wishes();
    }

    fn take_placed(&self, file: PreparedFile) {
        let placing = self.stock.borrow_mut().placing.remove(&file.path);
        let Some((partition, name)) = placing else {
            return;
        };
        if partition.is_dropped.get() {
            // Its directory may have been made anew for it.
            let topic = partition.tp.topic;
            return self.ask(Job::RemoveTopic { topic });
        }
        let disk = self.disk.clone();
        self.begun.borrow_mut().push(Box::pin(async move {
            let opened = SegmentFile::create(&disk, &file, partition.tp).await;
            Completion::Opened {
                partition,
                name,
                prepared: Box::new(file),
                opened,
            }
        }));
    }

    pub(super) fn segment_opened(
        &self,
        (partition, name): (Rc<Partition<D>>, SegmentName),
        prepared: PreparedFile,
        opened: Result<SegmentFile<D>, SegmentError>,
    ) {
        let partition = &partition;
        match opened {
            Ok(file) => {
                let path = file.path().to_owned();
                let mut log = partition.log.borrow_mut();
                log.segments.is_waiting = false;
                let is_of_log = name.base == log.journaled.base
                    || log.held.iter().any(|held| held.segment_base == name.base);
                let is_wanted = is_of_log && !partition.is_dropped.get();
                if is_wanted {
                    log.segments.next = Some((name, file));
                }
                drop(log);
                if !is_wanted {
                    self.discard_file(&path);
                }
                self.queue_seal(partition);
                self.mark_dirty(partition);
            }
            // Another shard was first to delete the topic, and its files went together: this shard
            // is about to hear of it. Until then the partition asks for another file.
            Err(SegmentError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                partition.log.borrow_mut().segments.is_waiting = false;
                if !partition.is_dropped.get() {
                    self.queue_seal(partition);
                    self.mark_dirty(partition);
                }
            }
            // No write has failed: nothing is in doubt, and the file is there.
            Err(error) => {
                tracing::warn!(%error, "cannot open a new segment file; tried again in a second");
                let path = prepared.path.clone();
                let mut stock = self.stock.borrow_mut();
                stock.placing.insert(path, (Rc::clone(partition), name));
                stock.unopened.push(prepared);
                drop(stock);
                self.try_later();
            }
        }
    }

    /// Opens the file that recovery found last, to go on writing to it.
    pub(super) fn reopen(&self, partition: &Rc<Partition<D>>, log: &mut Log<D>) {
        let Some(slot) = log.segments.slots.last() else {
            return;
        };
        if std::mem::replace(&mut log.segments.is_waiting, true) {
            return;
        }
        let path = self.segment_path(partition, slot);
        let (incarnation, end) = (slot.row.incarnation, slot.row.end);
        let (disk, partition) = (self.disk.clone(), Rc::clone(partition));
        self.begun.borrow_mut().push(Box::pin(async move {
            let tp = partition.tp;
            let opened = SegmentFile::open(&disk, &path, incarnation, tp, Some(end)).await;
            Completion::Reopened { partition, opened }
        }));
    }

    /// A file that cannot be opened is left as it is (S19), and a new one is begun.
    pub(super) fn segment_reopened(
        &self,
        partition: &Rc<Partition<D>>,
        opened: Result<SegmentFile<D>, SegmentError>,
    ) {
        let mut log = partition.log.borrow_mut();
        log.segments.is_waiting = false;
        match opened {
            Ok(_) if partition.is_dropped.get() => {}
            Ok(file) => {
                self.count_open(partition, file.incarnation());
                log.segments.adopt(file);
            }
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "cannot open a segment file; tried again in a second");
                let mut stock = self.stock.borrow_mut();
                stock.unopened_last.push(Rc::clone(partition));
                drop(stock);
                return self.try_later();
            }
            Err(error) => {
                tracing::error!(%error, "a segment file is unreadable; writing goes on in another");
                log.segments.is_last_lost = true;
            }
        }
        drop(log);
        self.queue_seal(partition);
        self.mark_dirty(partition);
    }

    pub(super) fn segment_path(&self, partition: &Partition<D>, slot: &SegmentSlot<D>) -> PathBuf {
        partition_dir(&self.config.data, partition.tp).join(slot.row.name.to_string())
    }

    /// Gives up files that no log needs, once that is durable: to the pool if nobody reads them.
    pub(super) fn discard(&self, partition: &Partition<D>, slots: Vec<SegmentSlot<D>>) {
        let slots = partition.log.borrow_mut().cleaning.hold_back(slots);
        for slot in slots {
            let path = self.segment_path(partition, &slot);
            self.cache.borrow_mut().forget(slot.row.incarnation);
            let is_unread = slot
                .file
                .as_ref()
                .is_none_or(|file| Rc::strong_count(file) == 1);
            match SizeClass::of_len(slot.row.file_bytes) {
                Some(class) if is_unread => self.ask(Job::Recycle { path, class }),
                _ => self.ask(Job::Unlink { path }),
            }
        }
    }

    /// Gives up a file that was never written to.
    pub(super) fn discard_file(&self, path: &Path) {
        self.ask(Job::Unlink {
            path: path.to_owned(),
        });
    }

    fn take_journal(&self, file: &PreparedFile) {
        let Some(slot) = slot_of(&file.path) else {
            return;
        };
        let (incarnation, len, prepared) = (file.incarnation, file.len, file.clone());
        let disk = self.disk.clone();
        self.begun.borrow_mut().push(Box::pin(async move {
            let opened = disk.open(&prepared.path, OpenMode::Write).await;
            let opened = opened.map(|file| ReadyFile {
                slot,
                file,
                incarnation,
                len,
            });
            let prepared = Box::new(prepared);
            Completion::JournalOpened { prepared, opened }
        }));
    }

    pub(super) fn journal_opened(&self, prepared: PreparedFile, opened: io::Result<ReadyFile<D>>) {
        match opened {
            Ok(ready) => {
                let mut journal = self.journal.borrow_mut();
                journal.asked = journal.asked.saturating_sub(1);
                journal.ready.push_back(ready);
            }
            Err(error) => {
                let path = prepared.path.display();
                tracing::warn!(%path, %error, "cannot open a journal file; tried again soon");
                self.stock.borrow_mut().unopened.push(prepared);
                self.try_later();
            }
        }
    }
}
