//! What `spate inspect` has found, for people or as JSON: fields in an order that reads well, and
//! rows of them. It knows nothing of files.

use std::io::{self, Write};

use serde_json::{Map, Value};

/// A field's content.
pub enum Shown {
    /// A word or a sentence.
    Text(String),
    /// A count, a position, an offset.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// What the field's name says is not there.
    Nothing,
    /// Rows, each with fields.
    Rows(Vec<Item>),
}

impl From<String> for Shown {
    fn from(text: String) -> Shown {
        Shown::Text(text)
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Shown {
        Shown::Text(text.to_owned())
    }
}

impl From<i64> for Shown {
    fn from(number: i64) -> Shown {
        Shown::Number(number)
    }
}

impl From<i32> for Shown {
    fn from(number: i32) -> Shown {
        Shown::Number(number.into())
    }
}

impl From<u64> for Shown {
    fn from(number: u64) -> Shown {
        Shown::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Shown {
    fn from(number: usize) -> Shown {
        Shown::from(number as u64)
    }
}

impl From<bool> for Shown {
    fn from(flag: bool) -> Shown {
        Shown::Flag(flag)
    }
}

impl<T: Into<Shown>> From<Option<T>> for Shown {
    fn from(present: Option<T>) -> Shown {
        present.map_or(Shown::Nothing, T::into)
    }
}

impl From<Vec<Item>> for Shown {
    fn from(rows: Vec<Item>) -> Shown {
        Shown::Rows(rows)
    }
}

/// Fields in their order.
#[derive(Default)]
pub struct Item(Vec<(&'static str, Shown)>);

impl Item {
    /// No field yet.
    pub fn new() -> Item {
        Item::default()
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &'static str, shown: impl Into<Shown>) -> Item {
        self.0.push((name, shown.into()));
        self
    }

    /// As JSON, in alphabetical order: programs look fields up by name.
    pub fn to_json(&self) -> Value {
        let fields = self.0.iter().map(|(name, shown)| {
            let value = match shown {
                Shown::Text(text) => Value::from(text.as_str()),
                Shown::Number(number) => Value::from(*number),
                Shown::Flag(flag) => Value::from(*flag),
                Shown::Nothing => Value::Null,
                Shown::Rows(rows) => rows.iter().map(Item::to_json).collect(),
            };
            ((*name).to_owned(), value)
        });
        Value::Object(fields.collect::<Map<_, _>>())
    }

    /// For people: a field a line, then the rows, a line each, with their own rows indented.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for (name, shown) in &self.0 {
            match shown {
                Shown::Rows(rows) => {
                    writeln!(out, "{name}: {}", rows.len())?;
                    rows.iter().try_for_each(|row| row.print_row(out, 2))?;
                }
                shown => writeln!(out, "{name:<16} {}", word(shown))?,
            }
        }
        Ok(())
    }

    fn print_row(&self, out: &mut impl Write, indent: usize) -> io::Result<()> {
        let mut line = String::new();
        for (name, shown) in &self.0 {
            if !matches!(shown, Shown::Rows(_) | Shown::Nothing) {
                let gap = if line.is_empty() { "" } else { "  " };
                line.push_str(&format!("{gap}{name}={}", word(shown)));
            }
        }
        writeln!(out, "{:indent$}{line}", "")?;
        for (_, shown) in &self.0 {
            if let Shown::Rows(rows) = shown {
                rows.iter()
                    .try_for_each(|row| row.print_row(out, indent + 2))?;
            }
        }
        Ok(())
    }
}

fn word(shown: &Shown) -> String {
    match shown {
        Shown::Text(text) => text.clone(),
        Shown::Number(number) => number.to_string(),
        Shown::Flag(true) => "yes".into(),
        Shown::Flag(false) => "no".into(),
        Shown::Nothing => "-".into(),
        Shown::Rows(rows) => rows.len().to_string(),
    }
}

/// Bytes of a key or a value, for people and for JSON alike: text as it is, the rest escaped.
pub fn bytes(bytes: Option<&[u8]>) -> Shown {
    match bytes {
        None => Shown::Nothing,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.escape_debug().to_string().into(),
            Err(_) => bytes.escape_ascii().to_string().into(),
        },
    }
}

/// Something that does not verify.
pub struct Bad {
    /// Where in the file.
    pub position: u64,
    /// The records that it costs, if that can be told: the first, and the one after the last.
    pub offsets: Option<(i64, i64)>,
    /// What is wrong.
    pub reason: String,
}

impl Bad {
    /// As a row.
    pub fn item(&self) -> Item {
        Item::new()
            .with("position", self.position)
            .with("base", self.offsets.map(|(base, _)| base))
            .with("next", self.offsets.map(|(_, next)| next))
            .with("reason", self.reason.as_str())
    }
}

/// A file, opened and read.
pub struct Found {
    /// What it holds.
    pub item: Item,
    /// What of it does not verify, by position.
    pub bad: Vec<Bad>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_printed_below_their_fields_and_kept_in_json() {
        let row = Item::new()
            .with("base", 3_i64)
            .with("rows", vec![Item::new().with("key", "k")]);
        let item = Item::new()
            .with("kind", "segment")
            .with("absent", None::<i64>)
            .with("blocks", vec![row]);
        let mut out = Vec::new();
        item.print(&mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "kind             segment\nabsent           -\nblocks: 1\n  base=3\n    key=k\n"
        );
        assert_eq!(item.to_json()["blocks"][0]["rows"][0]["key"], "k");
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert!(matches!(bytes(Some(b"\xff\n")), Shown::Text(text) if text == "\\xff\\n"));
        assert!(matches!(bytes(None), Shown::Nothing));
    }
}
