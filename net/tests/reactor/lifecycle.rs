//! Starting, nesting and leaving a reactor; holding a lock through it.

use std::{
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use spate_net::reactor::{
    Reactor, ReactorChoice, ReactorConfig, ReactorError, TcpListener, sleep, spawn, timeout,
};

use crate::both::{config, loopback, on_both};

#[test]
fn outside_of_a_reactor_the_panic_says_what_to_do() {
    let outcome = catch_unwind(|| TcpListener::bind(loopback(), false).map(drop));
    let panic = outcome.err().unwrap();
    let message = panic.downcast_ref::<String>().cloned();
    let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
    assert!(message.unwrap().contains("Reactor::block_on"));
}

#[test]
fn tasks_run_on_with_the_next_block_on() {
    on_both(|reactor| {
        let seven = async {
            sleep(Duration::from_millis(5)).await;
            7
        };
        let mut task = None;
        reactor.block_on(async { task = Some(spawn(seven)) });
        assert_eq!(reactor.block_on(task.take().unwrap()), 7);
    });
}

#[test]
fn panic_of_a_task_reaches_block_on_and_drop_still_drains() {
    on_both(|reactor| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            reactor.block_on(async {
                let listener = TcpListener::bind(loopback(), false).unwrap();
                spawn(async move { listener.accept().await.map(drop) }).detach();
                spawn(async {
                    sleep(Duration::from_millis(1)).await;
                    panic!("on purpose");
                })
                .detach();
                std::future::pending::<()>().await;
            });
        }));
        assert!(outcome.is_err());
    });
}

#[test]
fn destructors_of_tasks_may_use_the_reactor() {
    struct Farewell(Rc<()>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            let kept = Rc::clone(&self.0);
            spawn(async move {
                sleep(Duration::from_secs(1000)).await;
                drop(kept);
            })
            .detach();
        }
    }
    let held = Rc::new(());
    on_both(|reactor| {
        let farewell = Farewell(Rc::clone(&held));
        reactor.block_on(async {
            spawn(async move {
                std::future::pending::<()>().await;
                drop(farewell);
            })
            .detach();
            sleep(Duration::from_millis(1)).await;
        });
    });
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn held_lock_is_released_with_the_reactor() {
    on_both(|reactor| {
        let file = tempfile::tempfile().unwrap();
        reactor.hold_file(file.as_fd()).unwrap();
        reactor.block_on(sleep(Duration::from_millis(1)));
    });
}

#[test]
fn lock_of_a_held_file_outlives_its_descriptor() {
    use rustix::fs::{FlockOperation, flock};
    for choice in crate::both::BOTH {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = std::fs::File::create(&path).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        let reactor = Reactor::new(&config(choice)).unwrap();
        // A waker keeps the ring's descriptor open, and must not keep the lock.
        let waker = reactor.waker();
        reactor.hold_file(held.as_fd()).unwrap();
        drop(held);
        let other = std::fs::File::open(&path).unwrap();
        assert!(
            flock(&other, FlockOperation::NonBlockingLockExclusive).is_err(),
            "{choice}"
        );
        drop(reactor);
        // The kernel lets go of registered files a moment later.
        let free = || flock(&other, FlockOperation::NonBlockingLockExclusive).is_ok();
        let tries = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            free()
        });
        assert!(tries, "{choice}: the lock outlived the reactor");
        drop(waker);
    }
}

#[test]
fn settings_out_of_range_are_refused_with_the_remedy() {
    let odd = ReactorConfig {
        receive_buffers: 100,
        ..ReactorConfig::default()
    };
    let error = Reactor::new(&odd).err().unwrap();
    assert!(matches!(
        error,
        ReactorError::Setting {
            name: "receive_buffers",
            value: 100,
            ..
        }
    ));
    assert!(error.to_string().contains("power of two"));
    assert!(
        "tokio"
            .parse::<ReactorChoice>()
            .unwrap_err()
            .to_string()
            .contains("io_uring")
    );
    for name in ["auto", "io_uring", "epoll"] {
        assert_eq!(name.parse::<ReactorChoice>().unwrap().to_string(), name);
    }
}

#[test]
fn idle_reactor_parks() {
    on_both(|reactor| {
        let before = reactor.counters();
        reactor.block_on(async {
            let listener = TcpListener::bind(loopback(), false).unwrap();
            let _ = timeout(Duration::from_millis(200), listener.accept()).await;
        });
        let turns = reactor.counters().turns - before.turns;
        assert!(turns < 10, "{turns} turns while nothing happened");
    });
}

#[test]
fn nested_block_on_is_refused() {
    let mut outer = Reactor::new(&config(crate::both::BOTH[0])).unwrap();
    outer.block_on(async {
        let mut inner = Reactor::new(&config(crate::both::BOTH[1])).unwrap();
        let nested = catch_unwind(AssertUnwindSafe(|| inner.block_on(async {})));
        assert!(nested.is_err());
        // And dropping it here leaves the outer one in charge.
        drop(inner);
        sleep(Duration::from_millis(1)).await;
    });
}
