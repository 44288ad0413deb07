//! A process on another machine, by what it tells Prometheus: the names that Prometheus' own
//! clients give every process, Spate and Kafka's JMX exporter among them.

use std::io;
use std::time::Duration;

use super::{ProcessError, Sample};

/// A scrape that takes longer would miss the moment that it is for.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Reads a page of metrics.
pub fn scrape(url: &str) -> Result<Sample, ProcessError> {
    let failed = |source| ProcessError::Unscraped {
        url: url.to_owned(),
        source,
    };
    let got = minreq::get(url).with_timeout(TIMEOUT.as_secs()).send();
    let got = got.map_err(|error| failed(io::Error::other(error)))?;
    if got.status_code != 200 {
        let said = format!("it answers {} {}", got.status_code, got.reason_phrase);
        return Err(failed(io::Error::other(said)));
    }
    let text = got
        .as_str()
        .map_err(|error| failed(io::Error::other(error)))?;
    sample(text).ok_or_else(|| {
        let lacks = "there is no process_cpu_seconds_total in it";
        failed(io::Error::new(io::ErrorKind::InvalidData, lacks))
    })
}

fn sample(text: &str) -> Option<Sample> {
    Some(Sample {
        cpu_coarse: Duration::try_from_secs_f64(value(text, "process_cpu_seconds_total")?).ok()?,
        cpu_of_threads: Default::default(),
        context_switches: None,
        rss_bytes: value(text, "process_resident_memory_bytes").unwrap_or(0.0) as u64,
        written_bytes: None,
        open_files: value(text, "process_open_fds").unwrap_or(0.0) as u64,
    })
}

/// The value of a sample without labels, or the sum of those with some.
fn value(text: &str, name: &str) -> Option<f64> {
    let rests = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = rests.filter_map(|rest| {
        let value = match rest.strip_prefix('{') {
            // Label values may hold a brace, but not behind the last one.
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix([' ', '\t'])?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_reads_is_read() {
        let text = "# HELP process_cpu_seconds_total Time.\nprocess_cpu_seconds_total 12.5\n\
                    process_cpu_seconds_total_other 99\n\
                    process_resident_memory_bytes{a=\"}\"} 1.5e6 1700000000\n";
        let sample = sample(text).expect("it has the time");
        assert_eq!(sample.cpu_coarse, Duration::from_millis(12_500));
        assert_eq!((sample.rss_bytes, sample.open_files), (1_500_000, 0));
        assert_eq!(sample.context_switches, None);
        assert!(super::sample("up 1\n").is_none());
        assert_eq!(value("x{a=\"1\"} 1\nx{a=\"2\"} 2\n", "x"), Some(3.0));
    }

    #[test]
    fn a_page_that_is_not_there_is_an_error_with_its_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let error = scrape(&format!("http://{address}/metrics")).expect_err("nobody listens");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
