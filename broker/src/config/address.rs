//! A host and a port, as `listeners` and the command line have them.

use std::{fmt, str::FromStr};

/// Where something listens: a name or a literal, and a port (0: any free one).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPort {
    /// A name or an address literal, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text that is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not HOST:PORT (such as 127.0.0.1:9092, or [::1]:9092)")]
pub struct AddressError(String);

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    /// Kafka writes listeners as `PLAINTEXT://HOST:PORT`, and leaves the host out for all
    /// addresses; both are understood.
    fn from_str(text: &str) -> Result<HostPort, AddressError> {
        let error = || AddressError(text.to_owned());
        let address = text.strip_prefix("PLAINTEXT://");
        let (host, port) = address.unwrap_or(text).rsplit_once(':').ok_or_else(error)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(literal) => literal,
            None if host.contains([':', '/', ' ']) => return Err(error()),
            None if host.is_empty() && address.is_some() => "0.0.0.0",
            None => host,
        };
        if host.is_empty() {
            return Err(error());
        }
        let port = port.parse().map_err(|_| error())?;
        Ok(HostPort {
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_were_written() {
        for text in ["127.0.0.1:9092", "[::1]:0", "broker.example:19092"] {
            let address: HostPort = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
        }
        assert_eq!(
            "PLAINTEXT://:9092".parse(),
            Ok(HostPort {
                host: "0.0.0.0".into(),
                port: 9092
            })
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":9092",
            "localhost",
            "localhost:x",
            "localhost:70000",
            "::1:9092",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }
}
