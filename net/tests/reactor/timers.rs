//! Timers, notifications, tasks: what needs no kernel object.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use spate_net::reactor::{Notify, Patience, now, sleep, sleep_until, spawn, timeout, yield_now};

use crate::both::on_both;

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    on_both(|reactor| {
        let ended = Rc::new(RefCell::new(Vec::new()));
        let began = Instant::now();
        reactor.block_on(async {
            let tasks: Vec<_> = [30u64, 10, 20, 10, 0]
                .into_iter()
                .enumerate()
                .map(|(index, ms)| {
                    let ended = Rc::clone(&ended);
                    spawn(async move {
                        sleep_until(began + Duration::from_millis(ms)).await;
                        assert!(began.elapsed() >= Duration::from_millis(ms));
                        ended.borrow_mut().push(index);
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
        });
        assert_eq!(*ended.borrow(), [4, 1, 3, 2, 0]);
        assert!(began.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn timeout_gives_up_and_lets_through() {
    on_both(|reactor| {
        reactor.block_on(async {
            assert!(
                timeout(Duration::from_millis(5), std::future::pending::<()>())
                    .await
                    .is_err()
            );
            assert_eq!(timeout(Duration::MAX, async { 5 }).await, Ok(5));
            // A result that is there beats a deadline that has passed.
            assert_eq!(timeout(Duration::ZERO, async { 6 }).await, Ok(6));
        });
    });
}

#[test]
fn each_operation_has_the_whole_patience() {
    on_both(|reactor| {
        let limit = Duration::from_millis(60);
        reactor.block_on(async {
            let mut patience = Patience::new(limit);
            // Together they take longer than one may: the timer of the first fires in a later one.
            for _ in 0..8 {
                let part = sleep(limit / 4);
                assert_eq!(patience.with(part).await, Ok(()));
            }
            let began = now();
            let never = std::future::pending::<()>();
            assert!(patience.with(never).await.is_err());
            assert!(began.elapsed() >= limit, "{:?}", began.elapsed());
            assert_eq!(patience.with(yield_now()).await, Ok(()));
        });
    });
}

#[test]
fn a_patience_sets_one_timer_for_many_operations() {
    on_both(|reactor| {
        let before = reactor.counters();
        reactor.block_on(async {
            let mut patience = Patience::new(Duration::from_millis(150));
            for _ in 0..10_000 {
                patience.with(yield_now()).await.unwrap();
            }
            sleep(Duration::from_millis(300)).await;
        });
        let polls = reactor.counters().polls - before.polls;
        // Its one timer wakes the task once beside the sleep.
        assert!(polls <= 10_000 + 10, "{polls} polls");
    });
}

#[test]
fn abandoned_timers_do_not_keep_the_thread_awake() {
    on_both(|reactor| {
        reactor.block_on(async {
            for _ in 0..10_000 {
                let never = timeout(Duration::from_millis(150), yield_now());
                never.await.unwrap();
            }
            sleep(Duration::from_millis(20)).await;
        });
        let before = reactor.counters();
        reactor.block_on(sleep(Duration::from_millis(300)));
        let turns = reactor.counters().turns - before.turns;
        assert!(turns < 10, "{turns} turns while one timer was pending");
    });
}

#[test]
fn notify_keeps_one_permit_and_wakes_in_order() {
    on_both(|reactor| {
        reactor.block_on(async {
            let notify = Rc::new(Notify::new());
            notify.notify_one();
            notify.notify_one();
            notify.notified().await;
            assert!(
                timeout(Duration::from_millis(5), notify.notified())
                    .await
                    .is_err()
            );

            let order = Rc::new(RefCell::new(Vec::new()));
            let wait = |name| {
                let (notify, order) = (Rc::clone(&notify), Rc::clone(&order));
                spawn(async move {
                    notify.notified().await;
                    order.borrow_mut().push(name);
                })
            };
            let (first, second, third) = (wait("first"), wait("second"), wait("third"));
            yield_now().await;
            notify.notify_one();
            first.await;
            assert_eq!(*order.borrow(), ["first"]);
            notify.notify_all();
            second.await;
            third.await;
            assert_eq!(*order.borrow(), ["first", "second", "third"]);
        });
    });
}

#[test]
fn permit_of_a_dropped_waiter_goes_to_the_next() {
    on_both(|reactor| {
        reactor.block_on(async {
            let notify = Rc::new(Notify::new());
            let wait = || {
                let notify = Rc::clone(&notify);
                spawn(async move { notify.notified().await })
            };
            let (dropped, next) = (wait(), wait());
            yield_now().await;
            notify.notify_one();
            // Notified, but not polled since.
            dropped.cancel();
            timeout(Duration::from_secs(5), next).await.unwrap();
        });
    });
}

#[test]
fn cancelled_task_drops_what_it_holds_at_once() {
    on_both(|reactor| {
        reactor.block_on(async {
            let held = Rc::new(());
            let copy = Rc::clone(&held);
            let task = spawn(async move {
                std::future::pending::<()>().await;
                drop(copy);
            });
            yield_now().await;
            assert_eq!(Rc::strong_count(&held), 2);
            task.cancel();
            assert_eq!(Rc::strong_count(&held), 1);
        });
    });
}

#[test]
fn busy_tasks_do_not_starve_timers() {
    on_both(|reactor| {
        reactor.block_on(async {
            for _ in 0..1000 {
                spawn(async {
                    loop {
                        yield_now().await;
                    }
                })
                .detach();
            }
            let began = now();
            sleep(Duration::from_millis(10)).await;
            assert!(began.elapsed() < Duration::from_secs(2));
        });
    });
}
