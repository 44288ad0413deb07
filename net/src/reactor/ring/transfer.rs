//! Disk operations: reads, writes and flushes that own buffer and file until they complete.
//!
//! None is cancelled when its future is dropped: a write that was begun is better finished.

use std::{io, os::fd::OwnedFd, path::Path, rc::Rc};

use super::{
    Ring,
    request::{Request, Transfer, own_descriptor},
};
use crate::reactor::{
    buffers::DmaBuf,
    file::{path_to_c, resume},
};

impl Ring {
    fn transfer(&self, file: &Rc<OwnedFd>, position: u64, buf: DmaBuf) -> Transfer {
        let registered = self.pool().is_some_and(|pool| buf.is_from(pool));
        Transfer {
            file: Rc::clone(file),
            position,
            buf,
            done: 0,
            registered,
        }
    }
}

/// Fills `buf` from `position`.
pub(crate) async fn read(
    ring: &Rc<Ring>,
    file: &Rc<OwnedFd>,
    position: u64,
    buf: DmaBuf,
) -> (io::Result<()>, DmaBuf) {
    let mut transfer = ring.transfer(file, position, buf);
    while transfer.done < transfer.buf.len() {
        let (result, request) = ring.run(Request::Read(transfer), false).await;
        let Request::Read(back) = request else {
            unreachable!("a request comes back as it went")
        };
        transfer = back;
        if let Err(error) = transfer.advance(result, io::ErrorKind::UnexpectedEof) {
            return (Err(error), transfer.buf);
        }
    }
    (Ok(()), transfer.buf)
}

/// Writes all of `buf` at `position`; durably if `flush`.
pub(crate) async fn write(
    ring: &Rc<Ring>,
    file: &Rc<OwnedFd>,
    position: u64,
    buf: DmaBuf,
    flush: bool,
) -> (io::Result<()>, DmaBuf) {
    let mut transfer = ring.transfer(file, position, buf);
    while transfer.done < transfer.buf.len() {
        ring.tally()
            .fixed_writes
            .add(u64::from(transfer.registered));
        let (result, request) = ring.run(Request::Write { transfer, flush }, false).await;
        let Request::Write { transfer: back, .. } = request else {
            unreachable!("a request comes back as it went")
        };
        transfer = back;
        if let Err(error) = transfer.advance(result, io::ErrorKind::WriteZero) {
            return (Err(error), transfer.buf);
        }
    }
    (Ok(()), transfer.buf)
}

impl Transfer {
    fn advance(&mut self, result: i32, stuck: io::ErrorKind) -> io::Result<()> {
        if result == -libc::EINTR || result == -libc::EAGAIN {
            return Ok(());
        }
        let done = resume(self.done, done(result)? as usize, self.buf.len());
        if done == self.done {
            return Err(stuck.into());
        }
        self.done = done;
        Ok(())
    }
}

/// `fdatasync`.
pub(crate) async fn sync_data(ring: &Rc<Ring>, file: &Rc<OwnedFd>) -> io::Result<()> {
    let (result, _) = ring
        .run(
            Request::Sync {
                file: Rc::clone(file),
            },
            false,
        )
        .await;
    done(result).map(drop)
}

/// Opens `path` with `flags` of `open(2)`.
pub(crate) async fn open(ring: &Rc<Ring>, path: &Path, flags: i32) -> io::Result<Rc<OwnedFd>> {
    let request = Request::Open {
        path: path_to_c(path)?,
        flags,
    };
    let (result, _) = ring.run(request, false).await;
    Ok(Rc::new(own_descriptor(done(result)?)))
}

/// Allocates the blocks of a new file.
pub(crate) async fn allocate(ring: &Rc<Ring>, file: &Rc<OwnedFd>, len: u64) -> io::Result<()> {
    let (result, _) = ring
        .run(
            Request::Allocate {
                file: Rc::clone(file),
                len,
            },
            false,
        )
        .await;
    done(result).map(drop)
}

fn done(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::from_raw_os_error(-result))
    } else {
        Ok(result)
    }
}
