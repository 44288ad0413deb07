//! Wakes from other threads: to a parked reactor, to a busy one, from ring to ring.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    task::Waker,
    time::{Duration, Instant},
};

use crossbeam_queue::ArrayQueue;
use spate_net::reactor::{
    Reactor, ReactorChoice, ReactorConfig, RemoteWaker, sleep, spawn, timeout, yield_now,
};

use crate::both::{BOTH, config, on_both};

type Messages = Arc<ArrayQueue<u64>>;

fn messages() -> Messages {
    Arc::new(ArrayQueue::new(64))
}

/// Takes `count` numbers out of the inbox, each the one after the last.
async fn take_all(reactor_inbox: Rc<spate_net::reactor::Notify>, queue: Messages, count: u64) {
    let mut next = 0;
    while next < count {
        match queue.pop() {
            Some(number) => {
                assert_eq!(number, next);
                next += 1;
            }
            None => reactor_inbox.notified().await,
        }
    }
}

fn push(queue: &Messages, waker: &RemoteWaker, number: u64) {
    while queue.push(number).is_err() {
        std::thread::yield_now();
    }
    waker.wake();
}

fn inbox(reactor: &Reactor, queue: &Messages) -> Rc<spate_net::reactor::Notify> {
    let probed = Arc::clone(queue);
    reactor.set_inbox(Box::new(move || !probed.is_empty()))
}

#[test]
fn message_wakes_a_parked_reactor() {
    on_both(|reactor| {
        let queue = messages();
        let notify = inbox(reactor, &queue);
        let waker = reactor.waker();
        let sender = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                for number in 0..20 {
                    std::thread::sleep(Duration::from_millis(3));
                    push(&queue, &waker, number);
                }
            }
        });
        reactor.block_on(async {
            let all = timeout(Duration::from_secs(30), take_all(notify, queue, 20));
            all.await.expect("a wake was lost");
        });
        sender.join().unwrap();
        assert!(reactor.counters().parks >= 10, "{:?}", reactor.counters());
    });
}

#[test]
fn no_wake_is_lost_under_stress() {
    for spin in [Duration::ZERO, Duration::from_micros(20)] {
        for choice in BOTH {
            let mut reactor = Reactor::new(&ReactorConfig {
                spin,
                ..config(choice)
            })
            .unwrap();
            let queue = messages();
            let notify = inbox(&reactor, &queue);
            let waker = reactor.waker();
            let sender = std::thread::spawn({
                let queue = Arc::clone(&queue);
                move || {
                    for number in 0..100_000u64 {
                        push(&queue, &waker, number);
                        if number % 7 == 0 {
                            // Long enough for the other side to be on its way to sleep.
                            (0..number % 300).for_each(|_| std::hint::spin_loop());
                        }
                    }
                }
            });
            reactor.block_on(async {
                let all = timeout(Duration::from_secs(60), take_all(notify, queue, 100_000));
                all.await.expect("a wake was lost");
            });
            sender.join().unwrap();
        }
    }
}

#[test]
fn task_waker_works_from_another_thread() {
    on_both(|reactor| {
        let (sender, receiver) = mpsc::channel::<(Waker, Arc<AtomicBool>)>();
        let thread = std::thread::spawn(move || {
            for (round, (waker, flag)) in receiver.into_iter().enumerate() {
                if round % 3 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                flag.store(true, Ordering::Release);
                waker.wake();
            }
        });
        reactor.block_on(async {
            // A neighbour that keeps the reactor busy for half of the time.
            let busy = Rc::new(Cell::new(false));
            let neighbour = Rc::clone(&busy);
            spawn(async move {
                loop {
                    if neighbour.get() {
                        yield_now().await
                    } else {
                        sleep(Duration::from_millis(1)).await
                    }
                }
            })
            .detach();
            for round in 0..300 {
                busy.set(round % 2 == 0);
                let flag = Arc::new(AtomicBool::new(false));
                let mut asked = false;
                let woken = std::future::poll_fn(|context| {
                    if flag.load(Ordering::Acquire) {
                        return std::task::Poll::Ready(());
                    }
                    if !std::mem::replace(&mut asked, true) {
                        sender
                            .send((context.waker().clone(), Arc::clone(&flag)))
                            .unwrap();
                    }
                    std::task::Poll::Pending
                });
                timeout(Duration::from_secs(10), woken)
                    .await
                    .expect("a wake was lost");
            }
        });
        drop(sender);
        thread.join().unwrap();
    });
}

#[test]
fn waker_may_outlive_its_reactor() {
    on_both(|reactor| {
        let waker = reactor.waker();
        let task: Waker = reactor.block_on(async {
            std::future::poll_fn(|context| std::task::Poll::Ready(context.waker().clone())).await
        });
        std::thread::spawn(move || {
            waker.wake();
            task.wake();
        })
        .join()
        .unwrap();
    });
}

/// One side of a ping-pong over queues; returns the counters at the end.
fn play(
    choice: ReactorChoice,
    (ours, theirs): (Messages, Messages),
    (publish, peer): (mpsc::Sender<RemoteWaker>, mpsc::Receiver<RemoteWaker>),
    (rounds, serves): (u64, bool),
    parked: &AtomicU64,
) -> spate_net::reactor::Counters {
    let mut reactor = Reactor::new(&config(choice)).unwrap();
    let notify = inbox(&reactor, &ours);
    publish.send(reactor.waker()).unwrap();
    let peer = peer.recv().unwrap();
    reactor.block_on(async {
        if serves {
            push(&theirs, &peer, 0);
        }
        // The even numbers come to the one who does not serve.
        let last = if serves { rounds - 1 } else { rounds };
        loop {
            let number = match ours.pop() {
                Some(number) => number,
                None => {
                    let news = timeout(Duration::from_secs(20), notify.notified());
                    news.await.expect("a wake was lost");
                    continue;
                }
            };
            if number < rounds {
                push(&theirs, &peer, number + 1);
            }
            if number >= last {
                break;
            }
        }
        // The last wake goes out with the turn that ends block_on.
    });
    parked.fetch_add(reactor.counters().parks, Ordering::Relaxed);
    reactor.counters()
}

#[test]
fn parked_neighbours_wake_each_other_through_their_rings() {
    for choice in BOTH {
        let rounds = 2000;
        let (left, right) = (messages(), messages());
        let (left_publish, right_peer) = mpsc::channel();
        let (right_publish, left_peer) = mpsc::channel();
        let parked = AtomicU64::new(0);
        let began = Instant::now();
        let (one, two) = std::thread::scope(|scope| {
            let queues = (Arc::clone(&left), Arc::clone(&right));
            let one = scope.spawn(|| {
                play(
                    choice,
                    queues,
                    (left_publish, left_peer),
                    (rounds, true),
                    &parked,
                )
            });
            let queues = (right, left);
            let two = scope.spawn(|| {
                play(
                    choice,
                    queues,
                    (right_publish, right_peer),
                    (rounds, false),
                    &parked,
                )
            });
            (one.join().unwrap(), two.join().unwrap())
        });
        println!(
            "{choice}: {rounds} messages in {:?}, {one:?} {two:?}",
            began.elapsed()
        );
        if choice == ReactorChoice::IoUring && parked.load(Ordering::Relaxed) > 100 {
            assert!(one.ring_wakes > 0 && two.ring_wakes > 0);
            assert!(one.wakes_received > 0 && two.wakes_received > 0);
            assert_eq!(one.eventfd_wakes + two.eventfd_wakes, 0);
        }
    }
}
