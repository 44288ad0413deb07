//! What broker, driver and machine used in the measured window. A look that fails then costs its
//! own number, never the run.

use std::process;
use std::thread;
use std::time::Duration;

use super::Target;
use crate::process::{ProcessError, Sample, Usage, machine_cpu};
use crate::schedule::{Clock, Moment, Phases};

/// What was used in the measured window.
#[derive(Default)]
pub struct Usages {
    /// By the broker, if it could be looked at.
    pub broker: Option<Usage>,
    /// By the driver.
    pub driver: Usage,
    /// CPU time of everything else on this machine.
    pub elsewhere_cpu_s: f64,
}

/// Refuses a broker's process that is not there, while there is nothing yet to be lost.
pub fn check(target: &Target) -> Result<(), ProcessError> {
    broker(target).map(drop)
}

fn broker(target: &Target) -> Result<Option<Sample>, ProcessError> {
    match (target.pid, &target.metrics) {
        (Some(pid), _) => Sample::take(pid).map(Some),
        (None, Some(url)) => Sample::scrape(url).map(Some),
        (None, None) => Ok(None),
    }
}

/// The driver's own process, and the CPU time of the machine.
fn own() -> Result<(Sample, Duration), ProcessError> {
    Ok((Sample::take(process::id())?, machine_cpu()?))
}

/// Waits for both ends of the window, and looks at all processes there.
pub fn measure(
    target: &Target,
    clock: Clock,
    phases: Phases,
    warnings: &mut Vec<String>,
) -> Usages {
    let look_at = |moment: Moment| {
        thread::sleep(Duration::from_nanos(moment.nanos_since(clock.now())));
        (broker(target), own())
    };
    let (broker_before, own_before) = look_at(phases.measure_from);
    let (broker_after, own_after) = look_at(phases.measure_until);
    let mut usages = Usages::default();
    match both(broker_before, broker_after) {
        Ok((before, after)) => {
            let both = after.zip(before);
            usages.broker = both.map(|(after, before)| after.since(&before));
        }
        Err(error) => warnings.push(format!("what the broker used is not known: {error}")),
    }
    match both(own_before, own_after) {
        Ok(((before, machine_before), (after, machine_after))) => {
            usages.driver = after.since(&before);
            let machine_s = machine_after.saturating_sub(machine_before).as_secs_f64();
            usages.elsewhere_cpu_s = (machine_s - usages.driver.cpu_s).max(0.0);
        }
        Err(error) => warnings.push(format!("what the driver used is not known: {error}")),
    }
    usages
}

fn both<T>(
    before: Result<T, ProcessError>,
    after: Result<T, ProcessError>,
) -> Result<(T, T), ProcessError> {
    Ok((before?, after?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A broker that dies in the window once threw all numbers of the run away.
    #[test]
    fn a_broker_that_dies_in_the_window_costs_its_usage_only() {
        let mut broker = Command::new("sleep").arg("60").spawn().expect("it starts");
        let target = Target {
            pid: Some(broker.id()),
            ..Target::at("127.0.0.1:9092")
        };
        check(&target).expect("it is there");
        let clock = Clock::start();
        let (soon, window) = (Duration::from_millis(20), Duration::from_millis(300));
        let phases = Phases::new(clock.now(), soon, window);
        let killer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(150));
            broker.kill().expect("it is our child");
            broker.wait().expect("it has ended");
        });
        let mut warnings = Vec::new();
        let usages = measure(&target, clock, phases, &mut warnings);
        killer.join().expect("it does not panic");
        assert!(usages.broker.is_none() && usages.driver.rss_bytes > 0);
        assert!(
            warnings.len() == 1 && warnings[0].contains("what the broker used is not known"),
            "{warnings:?}"
        );
        assert!(check(&target).is_err(), "it is gone");
    }
}
