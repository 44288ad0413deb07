//! Which histories are run, and what is told of them: fresh seeds, the same seed twice, a crash
//! after any step. `scripts/storm` chooses by environment variables.

use super::{
    REPLAY,
    history::{Outcome, crash_at_step, history},
};
use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// Fresh seeds run until so much time has gone: they share the machine with the other tests.
const FRESH_SEEDS_FOR: Duration = Duration::from_secs(10);
const STEP_STRIDE: u64 = 23;

/// The verdict on a seed; a panic in the engine is one too.
pub fn judge<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

fn variable(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text}: expected a number")),
    )
}

fn run_seed(seed: u64) -> Outcome {
    judge(|| history(seed)).unwrap_or_else(|text| {
        panic!("seed {seed}: {text}\nreplay it with: {REPLAY} --seed {seed}")
    })
}

fn add(sum: &mut Outcome, one: Outcome) {
    sum.turns += one.turns;
    sum.promises += one.promises;
    sum.crashes += one.crashes;
    sum.compactions += one.compactions;
    sum.reports += one.reports;
}

/// Seeds that nobody has seen before. `scripts/storm` says which and how many instead.
#[test]
fn nothing_promised_is_lost_in_any_history() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let fresh = u64::from(clock.unwrap().subsec_nanos()) << 20;
    let first = variable("SPATE_STORM_SEED").unwrap_or(fresh);
    let count = variable("SPATE_STORM_SEEDS");
    let began = Instant::now();
    let mut sum = Outcome::default();
    let mut done = 0;
    while count.map_or(began.elapsed() < FRESH_SEEDS_FOR, |count| done < count) {
        add(&mut sum, run_seed(first + done));
        done += 1;
        if done.is_multiple_of(1000) {
            println!("{done} seeds in {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    let Outcome {
        turns,
        promises,
        crashes,
        compactions,
        reports,
        ..
    } = sum;
    println!(
        "{done} histories from seed {first} in {:.1} s: {crashes} crashes, {promises} promises, \
         {compactions} compactions, {turns} steps, {reports} damages reported; nothing lost, \
         doubled or reordered",
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn same_seed_gives_the_same_trace() {
    for seed in 1..6 {
        assert_eq!(run_seed(seed), run_seed(seed), "seed {seed}");
    }
}

/// One short history, crashed after each of its steps (every so many of them unless asked).
#[test]
fn a_crash_at_any_step_loses_nothing() {
    let seed = variable("SPATE_STORM_STEPS_OF").unwrap_or(3);
    let stride = variable("SPATE_STORM_STRIDE").unwrap_or(STEP_STRIDE);
    let began = Instant::now();
    let mut step = 0;
    let mut crashes = 0;
    loop {
        let verdict = judge(|| crash_at_step(seed, step));
        let (_, came_so_far) = verdict.unwrap_or_else(|text| {
            panic!("crash at step {step}: {text}\nreplay: {REPLAY} --steps-of {seed}")
        });
        crashes += 1;
        let is_late = stride > 1 && began.elapsed() > FRESH_SEEDS_FOR;
        if !came_so_far || is_late {
            break;
        }
        step += stride;
    }
    println!("seed {seed} crashed at {crashes} of {step} steps, nothing lost");
}
