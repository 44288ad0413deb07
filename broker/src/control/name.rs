//! Kafka's rules for the names of topics.

/// Longest name: a directory `<name>-<partition>` had to fit 255 bytes in Kafka.
pub const LONGEST: usize = 249;

/// Topics that the broker keeps for itself: visible to clients, written by none.
pub const INTERNAL: [&str; 3] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// Kafka's name for the metadata log: no topic may bear it.
pub const METADATA: &str = "__cluster_metadata";

/// Whether the broker keeps topics of this name for itself.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// Whether a topic may have this name.
///
/// # Errors
/// What is wrong with it, in Kafka's words.
pub fn check(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() {
        Err("Topic name is invalid: the empty string is not allowed".into())
    } else if name == "." || name == ".." {
        Err("Topic name is invalid: '.' or '..' is not allowed".into())
    } else if name.len() > LONGEST {
        let len = name.len();
        Err(format!(
            "Topic name is invalid: it is {len} bytes long and {LONGEST} are allowed"
        ))
    } else if !name.bytes().all(legal) {
        Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'"
        ))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_rules_hold() {
        let longest = "x".repeat(LONGEST);
        for name in ["a", "A-1_b.c", "...", "__consumer_offsets", &longest] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let too_long = "x".repeat(LONGEST + 1);
        for name in ["", ".", "..", "a b", "a/b", "ü", "a\0", &too_long] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
