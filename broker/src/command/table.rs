//! Tables for people: columns as wide as their widest cell, the last one open. Programs ask for
//! JSON instead.

use std::io::{self, Write};

/// Prints rows under a header, whose cells are as many as each row's.
pub fn print(out: &mut impl Write, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([header[column].chars().count()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    for row in [&header].into_iter().chain(rows) {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut out = Vec::new();
        let rows = [
            vec!["a".into(), "1".into()],
            vec!["longer".into(), String::new()],
        ];
        print(&mut out, &["KEY", "VALUE"], &rows).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "KEY     VALUE\na       1\nlonger\n");
    }
}
