//! Numbers as people read them: three digits that mean something, and a unit.

/// `1234567` as `1,234,567`.
pub fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate with its unit: `1,235 records/s`.
pub fn per_second(rate: f64, unit: &str) -> String {
    format!("{} {unit}/s", whole(rate.round() as u64))
}

/// Nanoseconds as `850 ns`, `12.3 us`, `4.56 ms`, `7.89 s`.
pub fn time(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e6 => format!("{} us", three_digits(nanos / 1e3)),
        ..1e9 => format!("{} ms", three_digits(nanos / 1e6)),
        _ => format!("{} s", three_digits(nanos / 1e9)),
    }
}

/// Bytes as `850 B`, `12.3 kB`, `4.56 MB`, `7.89 GB`.
pub fn bytes(count: f64) -> String {
    match count {
        ..1e3 => format!("{count:.0} B"),
        ..1e6 => format!("{} kB", three_digits(count / 1e3)),
        ..1e9 => format!("{} MB", three_digits(count / 1e6)),
        _ => format!("{} GB", three_digits(count / 1e9)),
    }
}

/// `1.23`, `12.3`, `123`.
pub fn three_digits(number: f64) -> String {
    match number {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(whole),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [850.0, 12_345.0, 4.56e6, 7.89e9].map(time),
            ["850 ns", "12.3 us", "4.56 ms", "7.89 s"]
        );
        assert_eq!(bytes(123_456.0), "123 kB");
        assert_eq!(
            [9.994, 9.996, 99.94, 99.96].map(three_digits),
            ["9.99", "10.0", "99.9", "100"]
        );
    }
}
