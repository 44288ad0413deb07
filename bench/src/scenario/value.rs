//! The values of a scenario that are more than a number, as people write them.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Serialize, Serializer};
use spate_net::kafka::record_batch::Codec;

/// Whose confirmation a produce waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Acks {
    /// Nobody's: a record counts as answered when it is handed to the kernel.
    #[value(name = "0")]
    None,
    /// The leader's.
    #[value(name = "1")]
    Leader,
    /// That of all replicas in sync.
    All,
}

impl Acks {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// Which partition a connection's batches go to; records with keys go where their key says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionChoice {
    /// The next one each time.
    RoundRobin,
    /// One per connection, for the whole run.
    Pinned,
}

/// Which key a record has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// None.
    None,
    /// Each as often as any other.
    Uniform,
    /// A few very often, most hardly ever.
    Zipf,
    /// One after the other, round and round.
    Sequential,
}

/// How record batches are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are Kafka's")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// The wire format's name for it.
    pub fn codec(self) -> Codec {
        match self {
            Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        }
    }
}

/// How the records of an open loop are spread over time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// At equal distances.
    Even,
    /// As independent events come: by chance, the rate being the mean.
    Poisson,
}

/// How fast records are to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rate {
    /// As fast as answers come (closed loop).
    Max,
    /// Records per second, on a schedule that does not wait (open loop).
    PerSecond(NonZeroU64),
    /// From one rate to another, evenly over the measured window.
    Ramp(NonZeroU64, NonZeroU64),
    /// One rate after the other, each for its part of the measured window.
    Steps(Vec<NonZeroU64>),
    /// A rate that is on for a while and off for a while, in turn.
    Bursts {
        /// Records per second while it is on.
        rate: NonZeroU64,
        /// How long it is on.
        on: Duration,
        /// How long it is off.
        off: Duration,
    },
}

impl Rate {
    /// The records per second of an open loop, on average over a window of that length.
    pub fn per_second(&self) -> Option<NonZeroU64> {
        let mean = match self {
            Rate::Max => return None,
            Rate::PerSecond(rate) => rate.get(),
            Rate::Ramp(from, to) => from.get().midpoint(to.get()),
            Rate::Steps(rates) => {
                rates.iter().map(|rate| rate.get()).sum::<u64>() / rates.len().max(1) as u64
            }
            Rate::Bursts { rate, on, off } => {
                let part = on.as_secs_f64() / (*on + *off).as_secs_f64();
                (rate.get() as f64 * part) as u64
            }
        };
        Some(NonZeroU64::new(mean).unwrap_or(NonZeroU64::MIN))
    }
}

const RATE_FORMS: &str = "a number of records per second above 0, max, a ramp as 1000..50000, \
                          steps as 1000,2000,4000, or bursts as 50000@200ms/800ms (on/off)";

impl FromStr for Rate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Rate, BadValue> {
        let bad = || BadValue::new(text, RATE_FORMS);
        let number = |part: &str| part.trim().parse::<NonZeroU64>().map_err(|_| bad());
        if text == "max" {
            return Ok(Rate::Max);
        }
        if let Some((from, to)) = text.split_once("..") {
            return Ok(Rate::Ramp(number(from)?, number(to)?));
        }
        if let Some((rate, times)) = text.split_once('@') {
            let (on, off) = times.split_once('/').ok_or_else(bad)?;
            let (on, off) = (parse_duration(on)?, parse_duration(off)?);
            if on.is_zero() {
                return Err(bad());
            }
            let rate = number(rate)?;
            return Ok(Rate::Bursts { rate, on, off });
        }
        if text.contains(',') {
            let rates: Result<Vec<_>, _> = text.split(',').map(number).collect();
            return rates.map(Rate::Steps);
        }
        number(text).map(Rate::PerSecond)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Max => f.write_str("max"),
            Rate::PerSecond(rate) => write!(f, "{rate}"),
            Rate::Ramp(from, to) => write!(f, "{from}..{to}"),
            Rate::Steps(rates) => {
                let texts: Vec<String> = rates.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(","))
            }
            Rate::Bursts { rate, on, off } => {
                write!(f, "{rate}@{}ms/{}ms", on.as_millis(), off.as_millis())
            }
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Rate::PerSecond(rate) => serializer.serialize_u64(rate.get()),
            other => serializer.collect_str(other),
        }
    }
}

/// How many bytes a record's value has.
#[derive(Clone, PartialEq, Debug)]
pub enum RecordBytes {
    /// Always as many.
    Fixed(usize),
    /// Any number between two, each as often.
    Between(usize, usize),
    /// Some sizes, each as often as its weight says.
    Weighted(Vec<(usize, u32)>),
}

impl RecordBytes {
    /// The smallest.
    pub fn min(&self) -> usize {
        match self {
            RecordBytes::Fixed(bytes) | RecordBytes::Between(bytes, _) => *bytes,
            RecordBytes::Weighted(sizes) => sizes.iter().map(|(size, _)| *size).min().unwrap_or(0),
        }
    }

    /// The largest.
    pub fn max(&self) -> usize {
        match self {
            RecordBytes::Fixed(bytes) | RecordBytes::Between(_, bytes) => *bytes,
            RecordBytes::Weighted(sizes) => sizes.iter().map(|(size, _)| *size).max().unwrap_or(0),
        }
    }
}

impl FromStr for RecordBytes {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<RecordBytes, BadValue> {
        let bad = || {
            BadValue::new(
                text,
                "a size as 1024, a range as 100..2000, or weighted sizes as 100:70,1000:25,9000:5",
            )
        };
        let size = |part: &str| part.trim().parse::<usize>().map_err(|_| bad());
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (size(from)?, size(to)?);
            return match from <= to {
                true => Ok(RecordBytes::Between(from, to)),
                false => Err(bad()),
            };
        }
        if text.contains(':') {
            let weighted = text.split(',').map(|part| {
                let (bytes, weight) = part.split_once(':').ok_or_else(bad)?;
                let weight = weight.trim().parse::<u32>().map_err(|_| bad())?;
                Ok((size(bytes)?, weight))
            });
            let sizes = weighted.collect::<Result<Vec<_>, BadValue>>()?;
            return match sizes.iter().any(|(_, weight)| *weight > 0) {
                true => Ok(RecordBytes::Weighted(sizes)),
                false => Err(bad()),
            };
        }
        size(text).map(RecordBytes::Fixed)
    }
}

impl fmt::Display for RecordBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordBytes::Fixed(bytes) => write!(f, "{bytes}"),
            RecordBytes::Between(from, to) => write!(f, "{from}..{to}"),
            RecordBytes::Weighted(sizes) => {
                let texts: Vec<String> = sizes
                    .iter()
                    .map(|(size, weight)| format!("{size}:{weight}"))
                    .collect();
                f.write_str(&texts.join(","))
            }
        }
    }
}

impl Serialize for RecordBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RecordBytes::Fixed(bytes) => serializer.serialize_u64(*bytes as u64),
            other => serializer.collect_str(other),
        }
    }
}

/// A setting that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("{given:?} is not {wanted}")]
pub struct BadValue {
    given: String,
    wanted: &'static str,
}

impl BadValue {
    /// What was given, and what would have been understood.
    pub fn new(given: &str, wanted: &'static str) -> BadValue {
        BadValue {
            given: given.to_owned(),
            wanted,
        }
    }
}

/// Reads `250ms`, `10s`, `2m` or `4h`.
pub fn parse_duration(text: &str) -> Result<Duration, BadValue> {
    let bad = || BadValue::new(text, "a time such as 250ms, 10s, 2m or 4h");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or_else(bad)
}

/// Reads `KEY=VALUE`.
pub fn parse_key_value(text: &str) -> Result<(String, String), BadValue> {
    let (key, value) = text
        .split_once('=')
        .ok_or(BadValue::new(text, "KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A part of a whole: 0 to 1.
pub fn parse_part(text: &str) -> Result<f64, BadValue> {
    let part = text.parse::<f64>().ok();
    let part = part.filter(|part| (0.0..=1.0).contains(part));
    part.ok_or(BadValue::new(text, "a number from 0 to 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(
            parse_duration("250ms").ok(),
            Some(Duration::from_millis(250))
        );
        assert_eq!(parse_duration("10s").ok(), Some(Duration::from_secs(10)));
        assert_eq!(parse_duration("2m").ok(), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("4h").ok(), Some(Duration::from_secs(14_400)));
        for bad in [
            "",
            "s",
            "10",
            "10d",
            "-1s",
            "99999999999999999999s",
            "999999999999999999m",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_and_sizes_are_read_as_they_are_shown() {
        for text in [
            "max",
            "5000",
            "1000..9000",
            "1000,2000,4000",
            "50000@200ms/800ms",
        ] {
            assert_eq!(
                text.parse::<Rate>().map(|rate| rate.to_string()).ok(),
                Some(text.into())
            );
        }
        for text in ["1024", "100..2000", "100:70,1000:25,9000:5"] {
            let bytes = text.parse::<RecordBytes>();
            assert_eq!(bytes.map(|bytes| bytes.to_string()).ok(), Some(text.into()));
        }
        for bad in ["0", "fast", "1..", "5@1s", "5@0s/1s", "1,,2"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        for bad in ["", "9..1", "1:x", "100:0"] {
            assert!(bad.parse::<RecordBytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_mean_of_a_rate_is_that_of_its_window() {
        let mean = |text: &str| text.parse::<Rate>().unwrap().per_second().unwrap().get();
        assert_eq!(mean("1000..3000"), 2_000);
        assert_eq!(mean("1000,2000,6000"), 3_000);
        assert_eq!(mean("50000@200ms/800ms"), 10_000);
    }
}
