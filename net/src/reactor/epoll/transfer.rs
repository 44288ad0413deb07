//! Files by plain system calls: they block the thread, which is what this backend costs.
//!
//! Each lets the other tasks run before it returns, so that a loop of writes cannot keep the
//! sockets waiting.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::OwnedFd,
    path::Path,
    rc::Rc,
};

use rustix::{
    fs::{FallocateFlags, Mode, OFlags},
    io::{Errno, ReadWriteFlags, preadv2, pwritev2},
};

use crate::reactor::{buffers::DmaBuf, executor::yield_now, file::resume};

/// Fills `buf` from `position`.
pub(crate) async fn read(
    file: &Rc<OwnedFd>,
    position: u64,
    mut buf: DmaBuf,
) -> (io::Result<()>, DmaBuf) {
    let outcome = read_all(file, position, &mut buf);
    yield_now().await;
    (outcome, buf)
}

fn read_all(file: &OwnedFd, position: u64, buf: &mut [u8]) -> io::Result<()> {
    let (mut done, len) = (0, buf.len());
    while done < len {
        let mut rest = [IoSliceMut::new(&mut buf[done..])];
        match preadv2(
            file,
            &mut rest,
            position + done as u64,
            ReadWriteFlags::empty(),
        ) {
            Ok(n) => done = advance(done, n, len, io::ErrorKind::UnexpectedEof)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes all of `buf` at `position`; durably if `flush`.
pub(crate) async fn write(
    file: &Rc<OwnedFd>,
    position: u64,
    buf: DmaBuf,
    flush: bool,
) -> (io::Result<()>, DmaBuf) {
    let outcome = write_all(file, position, &buf, flush);
    yield_now().await;
    (outcome, buf)
}

fn write_all(file: &OwnedFd, position: u64, buf: &[u8], flush: bool) -> io::Result<()> {
    let flags = if flush {
        ReadWriteFlags::DSYNC
    } else {
        ReadWriteFlags::empty()
    };
    let (mut done, len) = (0, buf.len());
    while done < len {
        let rest = [IoSlice::new(&buf[done..])];
        match pwritev2(file, &rest, position + done as u64, flags) {
            Ok(n) => done = advance(done, n, len, io::ErrorKind::WriteZero)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn advance(done: usize, n: usize, len: usize, stuck: io::ErrorKind) -> io::Result<usize> {
    let next = resume(done, n, len);
    if next == done {
        Err(stuck.into())
    } else {
        Ok(next)
    }
}

/// `fdatasync`.
pub(crate) async fn sync_data(file: &Rc<OwnedFd>) -> io::Result<()> {
    let outcome = rustix::fs::fdatasync(file);
    yield_now().await;
    Ok(outcome?)
}

/// Opens `path` with `flags` of `open(2)`.
pub(crate) async fn open(path: &Path, flags: i32) -> io::Result<Rc<OwnedFd>> {
    let flags = OFlags::from_bits_retain(flags as u32);
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    Ok(Rc::new(rustix::fs::open(path, flags, mode)?))
}

/// Allocates the blocks of a new file.
pub(crate) async fn allocate(file: &Rc<OwnedFd>, len: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(
        file,
        FallocateFlags::empty(),
        0,
        len,
    )?)
}
