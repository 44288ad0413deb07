//! How a record is printed: kcat's format strings.
//!
//! `%t` topic, `%p` partition, `%o` offset, `%k` key, `%s` value, `%h` headers (`a=1,b=2`), `%T`
//! timestamp in ms, `%K` and `%S` lengths of key and value (-1: null), `%%` a percent sign; `\n`,
//! `\t`, `\r`, `\0`, `\\` and `\xHH` as usual.

use std::{
    io::{self, Write},
    str::FromStr,
};

use spate_net::kafka::record_batch::Record;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Headers,
    Timestamp,
    KeyLength,
    ValueLength,
}

/// A format, ready to print with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format(Vec<Piece>);

/// A format that is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{found:?} means nothing in a format; there are %t %p %o %k %s %h %T %K %S %% \\n \\t \\xHH"
)]
pub struct FormatError {
    found: String,
}

impl Default for Format {
    fn default() -> Format {
        Format(vec![Piece::Value, Piece::Bytes(b"\n".to_vec())])
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Format, FormatError> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            let piece = match char {
                '%' => conversion(chars.next())?,
                '\\' => Some(Piece::Bytes(escape(&mut chars)?)),
                other => Some(Piece::Bytes(other.to_string().into_bytes())),
            };
            match piece {
                None => literal.push(b'%'),
                Some(Piece::Bytes(bytes)) => literal.extend(bytes),
                Some(piece) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Bytes(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Bytes(literal));
        }
        Ok(Format(pieces))
    }
}

/// `None` is a percent sign.
fn conversion(letter: Option<char>) -> Result<Option<Piece>, FormatError> {
    Ok(Some(match letter {
        Some('t') => Piece::Topic,
        Some('p') => Piece::Partition,
        Some('o') => Piece::Offset,
        Some('k') => Piece::Key,
        Some('s') => Piece::Value,
        Some('h') => Piece::Headers,
        Some('T') => Piece::Timestamp,
        Some('K') => Piece::KeyLength,
        Some('S') => Piece::ValueLength,
        Some('%') => return Ok(None),
        other => {
            return Err(FormatError {
                found: format!("%{}", other.unwrap_or(' ')),
            });
        }
    }))
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<Vec<u8>, FormatError> {
    let byte = match chars.next() {
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('r') => b'\r',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let digits: String = chars.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16).map_err(|_| FormatError {
                found: format!("\\x{digits}"),
            })?
        }
        other => {
            return Err(FormatError {
                found: format!("\\{}", other.unwrap_or(' ')),
            });
        }
    };
    Ok(vec![byte])
}

impl Format {
    /// Prints one record.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn print(
        &self,
        out: &mut impl Write,
        topic: &str,
        partition: i32,
        record: &Record<'_>,
    ) -> io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Bytes(bytes) => out.write_all(bytes)?,
                Piece::Topic => out.write_all(topic.as_bytes())?,
                Piece::Partition => write!(out, "{partition}")?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Key => out.write_all(record.key.unwrap_or_default())?,
                Piece::Value => out.write_all(record.value.unwrap_or_default())?,
                Piece::Headers => print_headers(out, record)?,
                Piece::Timestamp => write!(out, "{}", record.timestamp)?,
                Piece::KeyLength => print_length(out, record.key)?,
                Piece::ValueLength => print_length(out, record.value)?,
            }
        }
        Ok(())
    }
}

fn print_headers(out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
    for (index, (name, value)) in record.headers.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(name)?;
        out.write_all(b"=")?;
        out.write_all(value.unwrap_or(b"NULL"))?;
    }
    Ok(())
}

fn print_length(out: &mut impl Write, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => write!(out, "{}", bytes.len()),
        None => write!(out, "-1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: &str, record: &Record<'_>) -> String {
        let format: Format = format.parse().expect("a format");
        let mut out = Vec::new();
        format.print(&mut out, "orders", 3, record).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_part_of_a_record_can_be_shown() {
        let record = Record {
            offset: 42,
            timestamp: 1_700_000_000_000,
            key: Some(b"k"),
            value: Some(b"value"),
            headers: vec![(b"a", Some(b"1")), (b"b", None)],
        };
        assert_eq!(
            printed("%t %p %o %k=%s [%h] %T %K/%S %%\\t\\x41\\n", &record),
            "orders 3 42 k=value [a=1,b=NULL] 1700000000000 1/5 %\tA\n"
        );
        assert_eq!(Format::default(), "%s\\n".parse().expect("a format"));
        let tombstone = Record {
            key: None,
            value: None,
            headers: Vec::new(),
            ..record
        };
        assert_eq!(printed("%k|%s|%K|%S", &tombstone), "||-1|-1");
    }

    #[test]
    fn what_means_nothing_is_named() {
        for (format, found) in [
            ("%q", "%q"),
            ("a\\z", "\\z"),
            ("\\xzz", "\\xzz"),
            ("%", "% "),
        ] {
            let error = format.parse::<Format>().expect_err(format);
            assert_eq!(error.found, found);
        }
    }
}
