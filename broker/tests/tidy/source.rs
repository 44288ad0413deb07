//! One file of the tree as the tidy test sees it: its path, its lines, and its code with comments
//! and literals blanked out, so that a brace or a word inside a string is never taken for code.
//! It is a scanner, not a parser: it knows just enough Rust to find words, braces and functions.

use std::{fs, path::Path};

/// A text file of the tree.
pub struct Source {
    /// Relative to the workspace, with `/` between its parts.
    pub path: String,
    pub text: String,
}

/// A function and the lines from its `fn` to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

impl Source {
    pub fn read(root: &Path, path: &Path) -> Source {
        let text = fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let relative = path.strip_prefix(root).expect("found below the workspace");
        Source {
            path: relative.to_string_lossy().into_owned(),
            text,
        }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The first folder: the crate that a Rust file belongs to.
    pub fn top(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// The text with the contents of comments, strings and characters replaced by spaces. Lines
    /// stay where they were.
    pub fn code(&self) -> String {
        mask(&self.text)
    }

    pub fn functions(&self) -> Vec<Function> {
        functions(&self.code())
    }
}

/// Whether `word` stands in `text` with no letter, digit or underscore beside it.
pub fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = comment_end(&chars, at).or_else(|| literal_end(&chars, at));
        match end {
            Some(end) => {
                let blank = |&c: &char| if c == '\n' { '\n' } else { ' ' };
                masked.extend(chars[at..end].iter().map(blank));
                at = end;
            }
            None => {
                masked.push(chars[at]);
                at += 1;
            }
        }
    }
    masked
}

/// Where the comment that starts at `at` ends, if one starts there. Block comments nest.
fn comment_end(chars: &[char], at: usize) -> Option<usize> {
    match (chars[at], chars.get(at + 1)) {
        ('/', Some('/')) => Some(find(chars, at, |c| c == '\n')),
        ('/', Some('*')) => {
            let (mut depth, mut end) = (1, at + 2);
            while depth > 0 && end < chars.len() {
                match (chars[end], chars.get(end + 1)) {
                    ('/', Some('*')) => (depth, end) = (depth + 1, end + 2),
                    ('*', Some('/')) => (depth, end) = (depth - 1, end + 2),
                    _ => end += 1,
                }
            }
            Some(end)
        }
        _ => None,
    }
}

/// Where the string or character that starts at `at` ends, if one starts there.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    match chars[at] {
        '"' => Some(quoted_end(chars, at + 1, '"')),
        'r' => raw_string_end(chars, at),
        // `'a'` and `'\n'` are characters, `'a` alone is a lifetime.
        '\'' if chars.get(at + 1) == Some(&'\\') => Some(quoted_end(chars, at + 1, '\'')),
        '\'' if chars.get(at + 2) == Some(&'\'') => Some(at + 3),
        _ => None,
    }
}

fn quoted_end(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `r"..."`, `r#"..."#`, `br"..."`: the `r` must not be the end of a longer name.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let prefix = at.checked_sub(1).map(|before| chars[before]);
    let in_name = match prefix {
        Some('b' | 'c') => at >= 2 && is_name(chars[at - 2]),
        Some(c) => is_name(c),
        None => false,
    };
    let open = find(chars, at + 1, |c| c != '#');
    if in_name || chars.get(open) != Some(&'"') {
        return None;
    }
    let hashes = open - at - 1;
    let closes = |quote: usize| {
        let tail = &chars[quote + 1..];
        chars[quote] == '"' && tail.iter().take_while(|&&c| c == '#').count() >= hashes
    };
    let close = (open + 1..chars.len()).find(|&quote| closes(quote))?;
    Some(close + 1 + hashes)
}

/// The first index at or after `from` whose character satisfies `wanted`, else the end.
fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..chars.len())
        .find(|&at| wanted(chars[at]))
        .unwrap_or(chars.len())
}

fn functions(code: &str) -> Vec<Function> {
    let chars: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    for at in 0..chars.len().saturating_sub(3) {
        let is_fn = chars[at..].starts_with(&['f', 'n', ' ']);
        if !is_fn || at > 0 && is_name(chars[at - 1]) {
            continue;
        }
        let name: String = chars[at + 3..]
            .iter()
            .take_while(|&&c| is_name(c))
            .collect();
        let Some(end) = body_end(&chars, at + 3 + name.len()).filter(|_| !name.is_empty()) else {
            continue;
        };
        let newlines = |range: &[char]| range.iter().filter(|&&c| c == '\n').count();
        let line = newlines(&chars[..at]) + 1;
        found.push(Function {
            name,
            line,
            lines: newlines(&chars[at..end]) + 1,
        });
    }
    found
}

/// The closing brace of the body that follows a signature; `None` if there is only a declaration.
fn body_end(chars: &[char], signature: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut in_body = false;
    for (at, c) in chars.iter().enumerate().skip(signature) {
        match c {
            ';' if depth == 0 => return None,
            '{' if depth == 0 => (in_body, depth) = (true, 1),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if in_body && depth == 0 {
            return Some(at);
        }
    }
    None
}

#[test]
fn literals_and_comments_are_not_code() {
    let text = "let a = \"{ // \\\" }\"; // {\nlet b = r#\"}\"}\"#; let c = '{'; fn x<'a>() {}";
    let code = mask(text);
    assert_eq!(code.matches('{').count(), 1, "{code}");
    assert_eq!(code.matches('\n').count(), 1);
    assert!(code.ends_with("fn x<'a>() {}"));
    assert!(mask("/* a /* { */ } */ x").trim() == "x");
}

#[test]
fn a_function_reaches_from_its_name_to_its_last_brace() {
    let code = "trait T { fn declared(a: [u8; 4]); }\nfn long(a: [u8; 4])\n{\n if x { y }\n}\n";
    let expected = Function {
        name: "long".into(),
        line: 2,
        lines: 4,
    };
    assert_eq!(functions(code), [expected]);
    assert_eq!(functions("let f: fn(u8) = g;"), []);
}

#[test]
fn a_word_is_not_a_part_of_a_name() {
    assert!(has_word("an unsafe block", "unsafe"));
    assert!(!has_word("deny(unsafe_code)", "unsafe"));
}
