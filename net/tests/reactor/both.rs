//! What the reactor's tests share: every test runs on both backends.

use std::net::{Ipv4Addr, SocketAddr};

use spate_net::reactor::{Backend, Reactor, ReactorChoice, ReactorConfig};

/// The two backends by their choice.
pub const BOTH: [ReactorChoice; 2] = [ReactorChoice::IoUring, ReactorChoice::Epoll];

/// Small budgets, so that tests meet the limits.
pub fn config(choice: ReactorChoice) -> ReactorConfig {
    ReactorConfig {
        choice,
        ring_entries: 64,
        receive_buffers: 64,
        receive_buffer_bytes: 4096,
        registered_buffers: 4,
        registered_buffer_bytes: 64 << 10,
        ..ReactorConfig::default()
    }
}

/// Runs `test` on a fresh reactor of each backend.
pub fn on_both(test: impl Fn(&mut Reactor)) {
    for choice in BOTH {
        println!("on {choice}");
        let mut reactor = Reactor::new(&config(choice)).unwrap();
        let expected = match choice {
            ReactorChoice::Epoll => Backend::Epoll,
            _ => Backend::IoUring,
        };
        assert_eq!(reactor.backend(), expected);
        test(&mut reactor);
    }
}

/// Any free port.
pub fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Bytes that differ from place to place and from seed to seed.
pub fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(next).collect()
}
