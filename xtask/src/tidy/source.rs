//! A Rust file as the rules see it: its lines, with code, comments and tests told apart.
//!
//! Receives text from `tree`, hands lines to the rules. Not a parser: it knows what hides text
//! (strings, comments, character literals) and counts braces. Invariant: `code` and `comment` have
//! a character wherever `raw` has one, blank where it belongs to the other, so columns agree.

use super::source_mask::mask;

/// One line of a Rust file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// As it stands in the file, without the line break.
    pub raw: String,
    /// The code alone; what strings and comments hold is blank.
    pub code: String,
    /// The comments alone.
    pub comment: String,
    /// Part of a test: a `#[cfg(test)]` item, or a file that holds nothing else.
    pub test: bool,
}

/// A Rust file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// In the order of the file.
    pub lines: Vec<Line>,
}

/// A function: where it begins and ends, lines counted from 1, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`.
    pub first: usize,
    /// The line of the closing brace.
    pub last: usize,
}

impl Source {
    /// The file at `path` with its tests marked.
    pub fn parse(path: &str, text: &str) -> Self {
        let (code, comment) = mask(text);
        let mut lines: Vec<Line> = text
            .lines()
            .zip(code.lines())
            .zip(comment.lines())
            .map(|((raw, code), comment)| Line {
                raw: raw.to_owned(),
                code: code.trim_end().to_owned(),
                comment: comment.trim_end().to_owned(),
                test: is_test_file(path),
            })
            .collect();
        mark_tests(&mut lines);
        Self { lines }
    }

    /// The lines with their numbers, from 1.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// Every function that has a body, in the order of their first lines.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (number, line) in self.numbered() {
            for (column, name) in function_names(&line.code) {
                if let Some(last) = end_of_item(&self.lines, number - 1, column) {
                    functions.push(Function { name: name.to_owned(), first: number, last });
                }
            }
        }
        functions
    }
}

/// Files that cargo builds for tests only, or that a `#[cfg(test)] mod tests;` brings in.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.starts_with("tests/") || path.contains("/tests/")
}

fn mark_tests(lines: &mut [Line]) {
    let mut next = 0;
    while next < lines.len() {
        let column = cfg_test(&lines[next].code);
        let Some(last) = column.and_then(|column| end_of_item(lines, next, column)) else {
            next += 1;
            continue;
        };
        for line in &mut lines[next..last] {
            line.test = true;
        }
        next = last;
    }
}

/// The column after the attribute, where the line has one that keeps an item to tests.
fn cfg_test(code: &str) -> Option<usize> {
    ["#[cfg(test)]", "#[cfg(all(test,"].iter().find_map(|attribute| {
        code.find(attribute)
            .map(|column| column + attribute.len() - usize::from(attribute.ends_with(',')))
    })
}

/// The number of the line where the item ends that `column` of line `index` is in: that of its
/// closing brace. `None` where it has no body: a `;` came first.
fn end_of_item(lines: &[Line], index: usize, column: usize) -> Option<usize> {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (offset, line) in lines[index..].iter().enumerate() {
        let code = if offset == 0 { line.code.get(column..)? } else { &line.code };
        for byte in code.bytes() {
            match byte {
                b'{' => braces += 1,
                b'}' => {
                    braces -= 1;
                    if braces <= 0 {
                        return Some(index + offset + 1);
                    }
                }
                b'(' | b'[' => others += 1,
                b')' | b']' => others -= 1,
                b';' if braces == 0 && others <= 0 => return None,
                _ => {}
            }
        }
    }
    None
}

/// The functions whose `fn` stands on the line, each with the column of its name.
fn function_names(code: &str) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let column = at + "fn ".len();
        let rest = &code[column..];
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if length > 0 {
            names.push((column, &rest[..length]));
        }
    }
    names
}

/// Whether `c` may be part of a Rust name.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands in `text` as a word of its own: no letter, digit or underscore on either
/// side.
pub fn find_word(text: &str, word: &str) -> Option<usize> {
    text.match_indices(word)
        .map(|(at, _)| at)
        .find(|at| !text[..*at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(text: &str) -> Vec<(String, usize, usize)> {
        let source = Source::parse("a.rs", text);
        source.functions().into_iter().map(|f| (f.name, f.first, f.last)).collect()
    }

    #[test]
    fn functions_end_at_their_own_brace() {
        let text = "fn a(x: [u8; 2]) -> u8\nwhere\n    u8: Copy,\n{\n    if x[0] > 1 {\n        \
                    1\n    } else {\n        2\n    }\n}\n\nfn b() {}\n";
        assert_eq!(functions(text), [("a".to_owned(), 1, 10), ("b".to_owned(), 12, 12)]);
    }

    #[test]
    fn braces_in_text_do_not_count() {
        let text = "fn a() {\n    let s = \"{ { {\";\n    let c = '{'; // {\n}\nfn b() {\n}\n";
        assert_eq!(functions(text), [("a".to_owned(), 1, 4), ("b".to_owned(), 5, 6)]);
    }

    #[test]
    fn declarations_and_pointers_are_no_functions() {
        let text = "trait T {\n    fn a(&self);\n    fn b(&self) {}\n}\nstruct S { f: fn(u8) }\n";
        assert_eq!(functions(text), [("b".to_owned(), 3, 3)]);
    }

    fn test_lines(path: &str, text: &str) -> Vec<usize> {
        let source = Source::parse(path, text);
        source.numbered().filter(|(_, line)| line.test).map(|(number, _)| number).collect()
    }

    #[test]
    fn test_items_are_marked_to_their_brace() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        assert_eq!(test_lines("src/a.rs", text), [2, 3, 4, 5]);
        assert_eq!(test_lines("src/a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n"), [0; 0]);
        let both = "#[cfg(all(test, unix))]\nfn a() {\n}\nfn b() {}\n";
        assert_eq!(test_lines("src/a.rs", both), [1, 2, 3]);
    }

    #[test]
    fn test_files_are_tests_throughout() {
        assert_eq!(test_lines("src/a/tests.rs", "fn a() {}\n"), [1]);
        assert_eq!(test_lines("e2e/tests/a.rs", "fn a() {}\n"), [1]);
        assert_eq!(test_lines("src/testing.rs", "fn a() {}\n"), [0; 0]);
    }

    #[test]
    fn a_word_stands_alone() {
        assert_eq!(find_word("a method b", "method"), Some(2));
        assert_eq!(find_word("methods submethod method_", "method"), None);
    }
}
