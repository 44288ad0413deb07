//! The driver against a live server, the floor: the rate is kept, and a server that stands still
//! for half a second shows in the percentiles as arithmetic says it must.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

mod fixture;

use fixture::{Floor, PROGRAM};

fn signal(floor: &Floor, signal: Signal) {
    let pid = Pid::from_child(&floor.process);
    kill_process(pid, signal).expect("it is our child");
}

fn drive(floor: &Floor, flags: &[&str]) -> Child {
    Command::new(PROGRAM)
        .args(["run", "--json", "--broker", &floor.address])
        .args(["--broker-pid", &floor.process.id().to_string()])
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn outcome(driver: Child) -> Value {
    let output = driver.wait_with_output().expect("it ends by itself");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

fn ms(produced: &Value, of: &str, which: &str) -> f64 {
    produced[of][which].as_f64().expect("the report has it") / 1e6
}

#[test]
fn the_rate_is_kept_and_everything_is_answered() {
    let floor = Floor::start();
    let flags = "--rate 2000 --producers 4 --batch-records 2 --partitions 3 --idempotent \
                 --warm-up 300ms --duration 1500ms";
    let outcome = outcome(drive(&floor, &flags.split_whitespace().collect::<Vec<_>>()));
    let produced = &outcome["produced"];
    assert_eq!(produced["intended"], 3_000);
    assert_eq!(produced["latency"]["count"], 3_000);
    assert_eq!(
        (&produced["unanswered"], &produced["refused"]),
        (&0.into(), &0.into())
    );
    assert!(
        outcome["broker_usage"]["cpu_s"].as_f64() > Some(0.0),
        "{outcome}"
    );
}

/// The driver once waited for ever to hand a request to the kernel, whose buffers were full: here
/// after 40 MB, in less than a second.
#[test]
fn a_server_that_takes_nothing_is_given_up_after_the_request_timeout() {
    let floor = Floor::with(&["--discard"]);
    let flags = "--rate 1000 --record-bytes 65536 --in-flight 10000 --request-timeout 300ms \
                 --warm-up 300ms --duration 5s";
    let driver = drive(&floor, &flags.split_whitespace().collect::<Vec<_>>());
    sleep(Duration::from_millis(2_000));
    signal(&floor, Signal::STOP);
    sleep(Duration::from_millis(2_500));
    signal(&floor, Signal::CONT);
    let outcome = outcome(driver);
    let warnings = outcome["warnings"].to_string();
    assert!(
        warnings.contains("sending: not taken within 300ms: connected again"),
        "{warnings}"
    );
}

/// 1,000 records/s for four seconds, and half a second of standstill: 500 of 4,000 records wait,
/// evenly spread from 500 ms down. So one in ten waits at least 100 ms, one in a hundred at least
/// 460 ms. A busy machine can only add to that.
#[test]
fn a_standstill_counts_from_the_intended_time() {
    let floor = Floor::start();
    let flags = "--rate 1000 --in-flight 5 --warm-up 500ms --duration 4s";
    let driver = drive(&floor, &flags.split_whitespace().collect::<Vec<_>>());
    sleep(Duration::from_millis(2_000));
    signal(&floor, Signal::STOP);
    sleep(Duration::from_millis(500));
    signal(&floor, Signal::CONT);
    let outcome = outcome(driver);
    let produced = &outcome["produced"];
    assert_eq!(produced["latency"]["count"], 4_000);
    let (p90, p99) = (
        ms(produced, "latency", "p90_ns"),
        ms(produced, "latency", "p99_ns"),
    );
    assert!(p90 >= 95.0, "p90 is {p90} ms");
    assert!(p99 >= 455.0, "p99 is {p99} ms");
    // From the real send time only those on their way at that moment were late: five of 4,000.
    let service = ms(produced, "service", "p99_ns");
    assert!(
        service < p99 / 2.0,
        "p99 of the service time is {service} ms"
    );
}
