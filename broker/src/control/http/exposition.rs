//! The text that Prometheus reads, built from numbers that are kept elsewhere.

use std::time::Duration;

use prometheus::{
    Encoder, TextEncoder,
    proto::{
        Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Quantile,
        Summary,
    },
};

use crate::stats::latency::{Times, bound};

/// What the text is.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// Quantiles that the JMX exporter's rules give of Kafka's histograms, where anybody asks.
const QUANTILES: [f64; 4] = [0.5, 0.95, 0.99, 0.999];

/// The families so far.
#[derive(Default)]
pub struct Exposition {
    families: Vec<MetricFamily>,
}

impl Exposition {
    /// What only grows.
    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let metric = |(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = labelled(labels);
            metric.set_counter(counter);
            metric
        };
        self.add(
            name,
            help,
            MetricType::COUNTER,
            samples.into_iter().map(metric),
        );
    }

    /// What goes up and down.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let metric = |(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = labelled(labels);
            metric.set_gauge(gauge);
            metric
        };
        self.add(
            name,
            help,
            MetricType::GAUGE,
            samples.into_iter().map(metric),
        );
    }

    /// Times by quantile, in milliseconds, as Kafka has them.
    pub fn summary_ms<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'a Times)>,
    ) {
        let metric = |(labels, times): (Labels, &Times)| {
            let mut summary = Summary::default();
            summary.set_sample_count(times.count());
            summary.set_sample_sum(times.total.as_secs_f64() * 1e3);
            let quantile = |share: &f64| {
                let mut quantile = Quantile::default();
                quantile.set_quantile(*share);
                quantile.set_value(times.quantile(*share).as_secs_f64() * 1e3);
                quantile
            };
            summary.set_quantile(QUANTILES.iter().map(quantile).collect());
            let mut metric = labelled(labels);
            metric.set_summary(summary);
            metric
        };
        self.add(
            name,
            help,
            MetricType::SUMMARY,
            samples.into_iter().map(metric),
        );
    }

    /// Times by bucket, in seconds: a bound for each doubling, so that a few hundred series stay a
    /// few hundred.
    pub fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'a Times)>,
    ) {
        let metric = |(labels, times): (Labels, &Times)| {
            let mut histogram = Histogram::default();
            histogram.set_sample_count(times.count());
            histogram.set_sample_sum(times.total.as_secs_f64());
            histogram.set_bucket(doublings(times));
            let mut metric = labelled(labels);
            metric.set_histogram(histogram);
            metric
        };
        self.add(
            name,
            help,
            MetricType::HISTOGRAM,
            samples.into_iter().map(metric),
        );
    }

    fn add(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        metrics: impl Iterator<Item = Metric>,
    ) {
        let metrics: Vec<Metric> = metrics.collect();
        // The format has no family without a sample.
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.families.push(family);
    }

    /// The text.
    ///
    /// # Errors
    /// If a family cannot be written: a mistake in this program.
    pub fn text(self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.families, &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn labelled(labels: Labels) -> Metric {
    let pair = |(name, value): (&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    };
    let mut metric = Metric::default();
    metric.set_label(labels.into_iter().map(pair).collect());
    metric
}

/// Every fourth bucket ends at a power of two; what is above the last of them is in the count only.
fn doublings(times: &Times) -> Vec<Bucket> {
    let mut below = 0;
    let mut buckets = Vec::new();
    for (number, count) in times.buckets.iter().enumerate() {
        below += count;
        let Some(end) = bound(number).filter(|_| number % 4 == 0) else {
            continue;
        };
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(end.as_secs_f64());
        bucket.set_cumulative_count(below);
        buckets.push(bucket);
    }
    debug_assert!(buckets.len() > 20 && Duration::ZERO < bound(0).unwrap_or_default());
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_empty_families_left_out() {
        let mut out = Exposition::default();
        out.gauge("spate_empty", "Nothing.", []);
        let labels = vec![("topic", "a\"b\\c".to_owned())];
        out.gauge("spate_some", "Something.", [(labels, 2.5)]);
        let text = out.text().expect("it can be written");
        assert_eq!(
            text,
            "# HELP spate_some Something.\n# TYPE spate_some gauge\nspate_some{topic=\"a\\\"b\\\\\
             c\"} 2.5\n"
        );
    }
}
