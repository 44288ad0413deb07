//! Logs: where they go, and what their levels mean.
//!
//! - ERROR: someone must act. - WARN: someone should look. - INFO: the broker's state changed.
//! - DEBUG and TRACE: for us.
//!
//! They go to standard error, so that standard output stays for what a command prints. A warning
//! that a client can cause goes through a [`WarnLimiter`]: no peer may fill a disk with our log.

pub mod levels;

use std::{
    cell::Cell,
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use tracing_subscriber::EnvFilter;

/// Warnings of one limiter that may come at once.
const BURST: u32 = 10;

/// How often one more may come after that.
const REFILL: Duration = Duration::from_secs(1);

/// Directives that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "{source_name} = {directives:?} is not understood: {error}; write error, warn, info, debug or \
     trace, or directives such as info,spate_storage=debug"
)]
pub struct LevelError {
    source_name: &'static str,
    directives: String,
    error: tracing_subscriber::filter::ParseError,
}

/// Sends logs to standard error from now on, at these levels or, if it is set, at `RUST_LOG`'s.
///
/// # Errors
/// [`LevelError`] if the levels are not understood.
pub fn start(level: &str) -> Result<(), LevelError> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV)
        .ok()
        .filter(|s| !s.is_empty());
    let (source_name, directives) = match from_environment {
        Some(directives) => (EnvFilter::DEFAULT_ENV, directives),
        None => ("log.level", level.to_owned()),
    };
    let filter = EnvFilter::try_new(&directives).map_err(|error| LevelError {
        source_name,
        directives: directives.clone(),
        error,
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // A log that cannot be written (a full disk) would else be reported by `eprintln!`, which
        // panics when that fails too, and takes the thread along.
        .log_internal_errors(false)
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    let subscriber = subscriber.finish();
    // A second call, from another test of the same process, keeps the first one's subscriber.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let reload = move |filter| handle.reload(filter).is_ok();
        levels::begin(&directives, Box::new(reload));
    }
    Ok(())
}

/// Lets some warnings of one kind through and counts the rest. One for each shard and kind: it is
/// not shared between threads.
#[derive(Debug)]
pub struct WarnLimiter {
    tokens: Cell<u32>,
    refilled: Cell<Option<Instant>>,
    suppressed: Cell<u64>,
}

impl Default for WarnLimiter {
    fn default() -> WarnLimiter {
        WarnLimiter {
            tokens: Cell::new(BURST),
            refilled: Cell::new(None),
            suppressed: Cell::new(0),
        }
    }
}

impl WarnLimiter {
    /// Whether to log now: the number of warnings kept back since the last one, or `None`.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let refilled = self.refilled.get().unwrap_or(now);
        let periods = now.saturating_duration_since(refilled).as_millis() / REFILL.as_millis();
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        self.tokens
            .set(self.tokens.get().saturating_add(periods).min(BURST));
        // The fraction of a period that has passed counts for the next refill.
        let advanced = refilled
            .checked_add(REFILL.saturating_mul(periods))
            .unwrap_or(now);
        self.refilled.set(Some(advanced));
        match self.tokens.get().checked_sub(1) {
            Some(left) => {
                self.tokens.set(left);
                Some(self.suppressed.take())
            }
            None => {
                self.suppressed.set(self.suppressed.get() + 1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_warnings_becomes_a_trickle_that_counts() {
        let limiter = WarnLimiter::default();
        let begin = Instant::now();
        for _ in 0..BURST {
            assert_eq!(limiter.admit_at(begin), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(limiter.admit_at(begin + Duration::from_millis(900)), None);
        }
        let later = begin + Duration::from_millis(1100);
        assert_eq!(limiter.admit_at(later), Some(500));
        assert_eq!(limiter.admit_at(later), None);
        assert_eq!(
            limiter.admit_at(begin + Duration::from_millis(2000)),
            Some(1)
        );
    }

    #[test]
    fn a_quiet_limiter_saves_no_more_than_a_burst() {
        let limiter = WarnLimiter::default();
        assert_eq!(limiter.admit(), Some(0));
        let later = Instant::now() + Duration::from_secs(100_000);
        let admitted = (0..100)
            .filter(|_| limiter.admit_at(later).is_some())
            .count();
        assert_eq!(admitted, BURST as usize);
    }
}
