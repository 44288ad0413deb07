//! What an operation owns while the kernel works on it, and the submission entry that points into
//! it.
//!
//! Every pointer of an entry leads to heap memory owned by the request (never to the request
//! itself, which moves with its slab), and descriptors are held open by reference count. So an
//! operation is sound as long as its request is kept until the final completion, which the queue
//! guarantees.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    rc::Rc,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use io_uring::{opcode, squeue, types};
use rustix::net::SocketAddrAny;

use super::provided;
use crate::reactor::{buffers::DmaBuf, waker::Remote};

/// The kernel takes that many pieces in one vectored send.
const PIECES_MAX: usize = libc::UIO_MAXIOV as usize;

/// One disk transfer: `buf[done..]` to or from `position + done`.
pub(crate) struct Transfer {
    pub(crate) file: Rc<OwnedFd>,
    pub(crate) position: u64,
    pub(crate) buf: DmaBuf,
    pub(crate) done: usize,
    /// The buffer is from the pool that is registered with this ring.
    pub(crate) registered: bool,
}

impl Transfer {
    fn rest(&mut self) -> (types::Fd, *mut u8, u32, u64) {
        let rest = &mut self.buf[self.done..];
        let len = rest.len().min(i32::MAX as usize) as u32;
        let fd = types::Fd(self.file.as_raw_fd());
        (fd, rest.as_mut_ptr(), len, self.position + self.done as u64)
    }
}

/// A vectored send: the pieces, and the kernel's view of those that are left.
pub(crate) struct Message {
    pieces: Vec<Bytes>,
    /// The first piece that is not wholly sent, and how much of it is.
    next: usize,
    sent: usize,
    slices: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl Message {
    pub(crate) fn new(pieces: Vec<Bytes>) -> Box<Self> {
        // SAFETY: all zeros is a valid msghdr: null pointers with zero lengths.
        let header = unsafe { std::mem::zeroed() };
        let slices = Vec::with_capacity(pieces.len().min(PIECES_MAX));
        Box::new(Message {
            pieces,
            next: 0,
            sent: 0,
            slices,
            header,
        })
    }

    /// Moves past `n` bytes that the kernel has taken; says whether all are.
    pub(crate) fn advance(&mut self, mut n: usize) -> bool {
        while let Some(piece) = self.pieces.get(self.next) {
            let left = piece.len() - self.sent;
            if n < left {
                self.sent += n;
                return false;
            }
            n -= left;
            self.sent = 0;
            self.next += 1;
        }
        assert_eq!(n, 0, "the kernel sent more than it was given");
        true
    }

    fn prepare(&mut self) -> *const libc::msghdr {
        self.slices.clear();
        let mut skip = self.sent;
        for piece in self.pieces[self.next..].iter().take(PIECES_MAX) {
            let rest = &piece[std::mem::take(&mut skip)..];
            self.slices.push(libc::iovec {
                iov_base: rest.as_ptr().cast_mut().cast(),
                iov_len: rest.len(),
            });
        }
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = self.slices.len();
        &raw const self.header
    }
}

/// Everything a ring can be asked for, with what it owns.
pub(crate) enum Request {
    Accept {
        socket: Rc<OwnedFd>,
    },
    Connect {
        socket: Rc<OwnedFd>,
        address: Box<SocketAddrAny>,
    },
    ReceiveShared {
        socket: Rc<OwnedFd>,
    },
    ReceiveOnce {
        socket: Rc<OwnedFd>,
    },
    ReceiveInto {
        socket: Rc<OwnedFd>,
        buf: BytesMut,
        limit: usize,
    },
    Send {
        socket: Rc<OwnedFd>,
        bytes: Bytes,
    },
    SendVectored {
        socket: Rc<OwnedFd>,
        message: Box<Message>,
    },
    Poll {
        socket: Rc<OwnedFd>,
        events: u32,
    },
    Open {
        path: CString,
        flags: i32,
    },
    Allocate {
        file: Rc<OwnedFd>,
        len: u64,
    },
    Read(Transfer),
    Write {
        transfer: Transfer,
        flush: bool,
    },
    Sync {
        file: Rc<OwnedFd>,
    },
    AwaitWake {
        remote: Arc<Remote>,
        count: Box<[u8; 8]>,
    },
}

impl Request {
    /// The submission entry, pointing into what this request owns on the heap.
    pub(crate) fn entry(&mut self) -> squeue::Entry {
        let fd = |fd: &OwnedFd| types::Fd(fd.as_raw_fd());
        match self {
            Request::Accept { socket } => opcode::AcceptMulti::new(fd(socket))
                .flags(libc::SOCK_CLOEXEC)
                .build(),
            Request::Connect { socket, address } => {
                let (start, len) = (address.as_ptr().cast(), address.addr_len());
                opcode::Connect::new(fd(socket), start, len).build()
            }
            Request::ReceiveShared { socket } => {
                opcode::RecvMulti::new(fd(socket), provided::GROUP).build()
            }
            Request::ReceiveOnce { socket } => {
                // No length: as much as the buffer takes.
                opcode::Recv::new(fd(socket), std::ptr::null_mut(), 0)
                    .buf_group(provided::GROUP)
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT)
            }
            Request::ReceiveInto { socket, buf, limit } => {
                let spare = buf.spare_capacity_mut();
                let len = spare.len().min(*limit).min(i32::MAX as usize) as u32;
                // WAITALL: one completion for the whole frame instead of one per segment.
                opcode::Recv::new(fd(socket), spare.as_mut_ptr().cast(), len)
                    .flags(libc::MSG_WAITALL)
                    .build()
            }
            Request::Send { socket, bytes } => {
                let len = bytes.len().min(i32::MAX as usize) as u32;
                opcode::Send::new(fd(socket), bytes.as_ptr(), len)
                    .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                    .build()
            }
            Request::SendVectored { socket, message } => {
                opcode::SendMsg::new(fd(socket), message.prepare())
                    .flags((libc::MSG_NOSIGNAL | libc::MSG_WAITALL) as u32)
                    .build()
            }
            Request::Poll { socket, events } => opcode::PollAdd::new(fd(socket), *events).build(),
            _ => self.file_entry(),
        }
    }

    fn file_entry(&mut self) -> squeue::Entry {
        let fd = |fd: &OwnedFd| types::Fd(fd.as_raw_fd());
        match self {
            Request::Open { path, flags } => {
                opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr())
                    .flags(*flags)
                    .mode(0o644)
                    .build()
            }
            Request::Allocate { file, len } => opcode::Fallocate::new(fd(file), *len).build(),
            Request::Read(transfer) => transfer.read_entry(),
            Request::Write { transfer, flush } => transfer.write_entry(*flush),
            Request::Sync { file } => opcode::Fsync::new(fd(file))
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
            Request::AwaitWake { remote, count } => {
                let eventfd = types::Fd(remote.eventfd().as_raw_fd());
                opcode::Read::new(eventfd, count.as_mut_ptr(), count.len() as u32).build()
            }
            _ => unreachable!("socket requests are built by `entry`"),
        }
    }

    /// Takes over what a completion has put into the request's memory.
    pub(crate) fn complete(&mut self, result: i32) {
        if let (Request::ReceiveInto { buf, limit, .. }, Ok(n)) = (self, usize::try_from(result)) {
            assert!(
                n <= *limit && n <= buf.capacity() - buf.len(),
                "received past the limit"
            );
            let len = buf.len() + n;
            // SAFETY: the kernel has written `n` bytes from the start of the spare capacity that
            // `entry` gave it, and nobody has touched the buffer since.
            unsafe { buf.set_len(len) };
        }
    }

    /// A completion nobody waits for any more: what it created must not leak.
    pub(crate) fn discard(self, result: i32) {
        if matches!(self, Request::Open { .. }) && result >= 0 {
            drop(own_descriptor(result));
        }
    }
}

impl Transfer {
    fn read_entry(&mut self) -> squeue::Entry {
        let (fd, start, len, position) = self.rest();
        if self.registered {
            opcode::ReadFixed::new(fd, start, len, 0)
                .offset(position)
                .build()
        } else {
            opcode::Read::new(fd, start, len).offset(position).build()
        }
    }

    fn write_entry(&mut self, flush: bool) -> squeue::Entry {
        let (fd, start, len, position) = self.rest();
        let flags = if flush { libc::RWF_DSYNC } else { 0 };
        if self.registered {
            opcode::WriteFixed::new(fd, start, len, 0)
                .offset(position)
                .rw_flags(flags)
                .build()
        } else {
            opcode::Write::new(fd, start, len)
                .offset(position)
                .rw_flags(flags)
                .build()
        }
    }
}

/// Owns a descriptor that a completion has just created.
pub(crate) fn own_descriptor(result: i32) -> OwnedFd {
    assert!(result >= 0, "an error is no descriptor");
    // SAFETY: the kernel opened it for the completion in hand, which is taken exactly once.
    unsafe { OwnedFd::from_raw_fd(result) }
}
