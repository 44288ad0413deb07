//! A simulated file's bytes: for each page the version that is durable and those written since.

use std::{collections::BTreeMap, rc::Rc};

use super::world::Dice;
use crate::disk::PAGE;

/// What a torn page is torn at: a disk's sector.
const SECTOR: usize = 512;

type Bytes = Rc<[u8; PAGE]>;

/// One page: the first version is durable, the last one is what a reader sees. Never empty.
#[derive(Clone)]
struct Page {
    versions: Vec<(u64, Bytes)>,
    /// What the last write replaced, if a flush has dropped it: what a stale read gives.
    former: Option<Bytes>,
}

impl Page {
    /// Drops the oldest versions but so many as are left from index `kept` on.
    fn settle(&mut self, kept: usize) {
        if let Some((_, bytes)) = self.versions.drain(..kept).next_back() {
            self.former = Some(bytes);
        }
    }
}

/// A file's contents; pages never written are zeros.
#[derive(Clone)]
pub(super) struct Inode {
    len: u64,
    /// Whether a crash may still take the length back to 0.
    len_durable: bool,
    pages: BTreeMap<u64, Page>,
}

impl Inode {
    pub(super) fn new(len: u64) -> Inode {
        Inode {
            len,
            len_durable: false,
            pages: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads whole pages; behind the end there are zeros.
    pub(super) fn read(&self, position: u64, out: &mut [u8]) {
        let first = position / PAGE as u64;
        for (number, out) in (first..).zip(out.chunks_exact_mut(PAGE)) {
            match self
                .pages
                .get(&number)
                .and_then(|page| page.versions.last())
            {
                Some((_, bytes)) => out.copy_from_slice(&bytes[..]),
                None => out.fill(0),
            }
        }
    }

    /// The pages of a range whose contents before their last write are still known.
    pub(super) fn former_pages(&self, position: u64, len: usize) -> Vec<u64> {
        let pages = position / PAGE as u64..(position + len as u64) / PAGE as u64;
        let known = self
            .pages
            .range(pages)
            .filter(|(_, page)| page.former.is_some());
        known.map(|(number, _)| *number).collect()
    }

    /// Puts what page `number` held before its last write into a read of `position`.
    pub(super) fn read_former(&self, number: u64, position: u64, out: &mut [u8]) {
        let at = (number * PAGE as u64 - position) as usize;
        if let Some(former) = self
            .pages
            .get(&number)
            .and_then(|page| page.former.as_ref())
        {
            out[at..at + PAGE].copy_from_slice(&former[..]);
        }
    }

    /// The numbers of pages that were ever written.
    pub(super) fn written_pages(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().copied()
    }

    /// Writes one page, in memory only. Whoever grows the file grows it here, as real files do.
    pub(super) fn write_page(&mut self, number: u64, order: u64, bytes: &[u8]) {
        let mut copy = [0; PAGE];
        copy.copy_from_slice(bytes);
        let zeros = || Page {
            versions: vec![(0, Rc::new([0; PAGE]))],
            former: None,
        };
        let page = self.pages.entry(number).or_insert_with(zeros);
        page.versions.push((order, Rc::new(copy)));
        let end = (number + 1) * PAGE as u64;
        if end > self.len {
            self.len = end;
            self.len_durable = false;
        }
    }

    /// Makes a page durable as it is now.
    pub(super) fn flush_page(&mut self, number: u64) {
        self.len_durable = true;
        if let Some(page) = self.pages.get_mut(&number) {
            page.settle(page.versions.len() - 1);
        }
    }

    /// Makes everything written before `order` durable.
    pub(super) fn sync(&mut self, order: u64) {
        self.len_durable = true;
        for page in self.pages.values_mut() {
            let written = page.versions.partition_point(|(at, _)| *at < order);
            page.settle(written.saturating_sub(1));
        }
    }

    /// After a power failure: any version of what was not durable, whole or torn.
    pub(super) fn survive(&mut self, dice: &mut Dice) {
        if !self.len_durable && dice.one_in(2) {
            *self = Inode {
                len: 0,
                len_durable: true,
                pages: BTreeMap::new(),
            };
            return;
        }
        for page in self
            .pages
            .values_mut()
            .filter(|page| page.versions.len() > 1)
        {
            let torn = dice.one_in(2);
            let mut kept = *dice.pick(&page.versions).1;
            for sector in kept.chunks_exact_mut(SECTOR).enumerate().skip(1) {
                if torn {
                    let at = sector.0 * SECTOR;
                    let version = &dice.pick(&page.versions).1;
                    sector.1.copy_from_slice(&version[at..at + SECTOR]);
                }
            }
            page.versions = vec![(0, Rc::new(kept))];
        }
        self.settle();
    }

    /// After the process died and the machine did not: everything written is there.
    pub(super) fn settle(&mut self) {
        self.len_durable = true;
        for page in self.pages.values_mut() {
            page.settle(page.versions.len() - 1);
            page.versions[0].0 = 0;
        }
    }

    pub(super) fn flip_bit(&mut self, position: u64, bit: u8) {
        let (number, at) = (position / PAGE as u64, (position % PAGE as u64) as usize);
        let mut bytes = vec![0; PAGE];
        self.read(number * PAGE as u64, &mut bytes);
        bytes[at] ^= 1 << (bit % 8);
        self.write_page(number, 0, &bytes);
        self.flush_page(number);
    }
}
