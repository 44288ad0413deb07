//! Building a ring: what the kernel grants, and what to do where it does not.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    rc::Rc,
    sync::Arc,
};

use io_uring::{IoUring, Probe, opcode};

use super::{Ring, provided::ReceiveBuffers, queue::Queue};
use crate::reactor::{
    buffers::Pool,
    config::{ReactorConfig, Tally},
    waker::Remote,
};

/// Why there is no ring.
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) remedy: &'static str,
}

/// Builds the ring of this thread; pushes what it had to do without onto `notes`.
pub(crate) fn build(
    config: &ReactorConfig,
    remote: Arc<Remote>,
    tally: Rc<Tally>,
    notes: &mut Vec<String>,
) -> Result<Rc<Ring>, Refusal> {
    let ring = create(config.ring_entries, notes)?;
    require_operations(&ring)?;
    // A filter may let the set-up pass and refuse the entering: better known now.
    ring.submit()
        .map_err(|error| refusal("io_uring_enter", &error))?;
    let receive_buffers = ReceiveBuffers::register(
        &ring.submitter(),
        config.receive_buffers,
        config.receive_buffer_bytes,
    )
    .map_err(|error| {
        refusal(
            "register receive buffers (IORING_REGISTER_PBUF_RING)",
            &error,
        )
    })?;
    let pool = register_pool(&ring, config, notes);
    let duplicate = super::queue::duplicate_descriptor(&ring)
        .map_err(|error| refusal("duplicate the ring's descriptor", &error))?;
    remote.set_ring(duplicate);
    let ring = Rc::new(Ring {
        queue: RefCell::new(Queue::new(ring)),
        arrived: RefCell::new(VecDeque::new()),
        receive_buffers,
        pool,
        remote,
        tally,
        closing: Cell::new(false),
        holds_file: Cell::new(false),
    });
    ring.await_wake();
    Ok(ring)
}

fn create(entries: u32, notes: &mut Vec<String>) -> Result<IoUring, Refusal> {
    let mut builder = IoUring::builder();
    // Multishot operations complete more often than they are submitted.
    builder
        .setup_cqsize(entries.saturating_mul(4))
        .setup_clamp()
        .setup_taskrun_flag();
    let mut best = builder.clone();
    best.setup_single_issuer().setup_defer_taskrun();
    let refused = match best.build(entries) {
        Ok(ring) => return Ok(ring),
        Err(error) => error,
    };
    if refused.raw_os_error() != Some(libc::EINVAL) {
        return Err(refusal("io_uring_setup", &refused));
    }
    // EINVAL: a kernel that does not know these flags.
    builder.setup_coop_taskrun();
    let ring = builder
        .build(entries)
        .map_err(|error| refusal("io_uring_setup", &error))?;
    notes.push(format!(
        "the kernel refuses SINGLE_ISSUER | DEFER_TASKRUN ({refused}): using COOP_TASKRUN, which \
         costs about a third more CPU; run Linux 6.1 or later"
    ));
    Ok(ring)
}

fn require_operations(ring: &IoUring) -> Result<(), Refusal> {
    let mut probe = Probe::new();
    let probed = ring.submitter().register_probe(&mut probe);
    probed.map_err(|error| refusal("IORING_REGISTER_PROBE", &error))?;
    // The youngest operation that we use, and one that seccomp-like filters take away.
    let complete = probe.is_supported(opcode::MsgRingData::CODE)
        && probe.is_supported(opcode::RecvMulti::CODE)
        && probe.is_supported(opcode::OpenAt::CODE);
    let params = ring.params();
    let modern = params.is_feature_nodrop()
        && params.is_feature_ext_arg()
        && params.is_feature_skip_cqe_on_success();
    if complete && modern {
        return Ok(());
    }
    Err(Refusal {
        reason: "the kernel's io_uring lacks operations of Linux 6.1".to_owned(),
        remedy: "run Linux 6.1 or later",
    })
}

fn register_pool(
    ring: &IoUring,
    config: &ReactorConfig,
    notes: &mut Vec<String>,
) -> Option<Arc<Pool>> {
    if config.registered_buffers == 0 {
        return None;
    }
    let slot_bytes = config.registered_buffer_bytes as usize;
    let registered = Pool::new(config.registered_buffers, slot_bytes)
        .and_then(|pool| super::queue::register_region(ring, pool.region()).map(|()| pool));
    match registered {
        Ok(pool) => Some(Arc::new(pool)),
        Err(error) => {
            let bytes = usize::from(config.registered_buffers) * slot_bytes;
            notes.push(format!(
                "the kernel refuses to register {bytes} bytes of disk buffers ({error}): using \
                 plain writes, which cost a little more CPU; raise the limit of locked memory \
                 (ulimit -l, LimitMEMLOCK=) or lower registered_buffers"
            ));
            None
        }
    }
}

fn refusal(call: &str, error: &io::Error) -> Refusal {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "allow io_uring: sysctl kernel.io_uring_disabled=0, and a seccomp profile that permits \
             io_uring_setup, io_uring_enter and io_uring_register (docker: --security-opt \
             seccomp=unconfined)"
        }
        Some(libc::ENOSYS) => "run Linux 6.1 or later, built with CONFIG_IO_URING",
        Some(libc::ENOMEM) => "raise the limit of locked memory (ulimit -l) or free memory",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (ulimit -n)",
        _ => "run Linux 6.1 or later",
    };
    Refusal {
        reason: format!("{call}: {error}"),
        remedy,
    }
}
