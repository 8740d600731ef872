//! Tells the code of a Rust file from its comments, and blanks what strings hold.
//!
//! Receives text from `source` and hands back two texts of the same shape. Invariant: line breaks
//! stay where they are, in both; every other character is in at most one of the two.

/// What the scanner is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Code,
    LineComment,
    /// Nested this deep.
    BlockComment(usize),
    /// A string that a backslash escapes in.
    Text,
    /// A raw string that ends with a quote and this many hashes.
    RawText(usize),
}

/// The code and the comments of `text`, as two texts with blanks for what the other has.
pub fn mask(text: &str) -> (String, String) {
    Scanner { chars: text.chars().collect(), at: 0, code: String::new(), comment: String::new() }
        .run()
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    code: String,
    comment: String,
}

impl Scanner {
    fn run(mut self) -> (String, String) {
        let mut state = In::Code;
        while self.at < self.chars.len() {
            state = match state {
                In::Code => self.code(),
                In::LineComment if self.peek(0) == Some('\n') => self.blank(1, In::Code),
                In::LineComment => self.comment(1, state),
                In::BlockComment(depth) => self.block_comment(depth),
                In::Text => match self.peek(0) {
                    Some('\\') => self.blank(2, state),
                    Some('"') => self.keep(1, In::Code),
                    _ => self.blank(1, state),
                },
                In::RawText(hashes) if self.ends_raw(hashes) => self.keep(1 + hashes, In::Code),
                In::RawText(_) => self.blank(1, state),
            };
        }
        (self.code, self.comment)
    }

    fn code(&mut self) -> In {
        match (self.peek(0), self.peek(1)) {
            (Some('/'), Some('/')) => self.comment(2, In::LineComment),
            (Some('/'), Some('*')) => self.comment(2, In::BlockComment(1)),
            (Some('"'), _) => self.keep(1, In::Text),
            (Some('r'), Some('"' | '#')) if !self.after_word() => self.raw_start(),
            (Some('b' | 'c'), Some('r')) if !self.after_word() => {
                self.keep(1, In::Code);
                if matches!(self.peek(1), Some('"' | '#')) { self.raw_start() } else { In::Code }
            }
            (Some('\''), _) => self.quote(),
            _ => self.keep(1, In::Code),
        }
    }

    fn block_comment(&mut self, depth: usize) -> In {
        match (self.peek(0), self.peek(1)) {
            (Some('*'), Some('/')) if depth == 1 => self.comment(2, In::Code),
            (Some('*'), Some('/')) => self.comment(2, In::BlockComment(depth - 1)),
            (Some('/'), Some('*')) => self.comment(2, In::BlockComment(depth + 1)),
            _ => self.comment(1, In::BlockComment(depth)),
        }
    }

    /// At an `r` that may begin a raw string; `r#name` is a name.
    fn raw_start(&mut self) -> In {
        let hashes = self.chars[self.at + 1..].iter().take_while(|c| **c == '#').count();
        if self.peek(1 + hashes) == Some('"') {
            self.keep(2 + hashes, In::RawText(hashes))
        } else {
            self.keep(1, In::Code)
        }
    }

    /// At a `'`: a character, which hides what it holds, or a lifetime, which does not.
    fn quote(&mut self) -> In {
        let length = match (self.peek(1), self.peek(2)) {
            (Some('\\'), _) => {
                // The escaped character is skipped, so that `'\''` ends at its last quote.
                let rest = self.chars.get(self.at + 3..).unwrap_or_default();
                rest.iter().position(|c| *c == '\'').map_or(0, |end| end + 2)
            }
            (Some(_), Some('\'')) => 1,
            _ => 0,
        };
        self.keep(1, In::Code);
        if length == 0 {
            return In::Code;
        }
        self.blank(length, In::Code);
        self.keep(1, In::Code)
    }

    fn ends_raw(&self, hashes: usize) -> bool {
        self.peek(0) == Some('"') && (1..=hashes).all(|i| self.peek(i) == Some('#'))
    }

    fn after_word(&self) -> bool {
        self.at > 0 && super::source::is_word(self.chars[self.at - 1])
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn keep(&mut self, count: usize, next: In) -> In {
        self.take(count, next, true, false)
    }

    fn comment(&mut self, count: usize, next: In) -> In {
        self.take(count, next, false, true)
    }

    fn blank(&mut self, count: usize, next: In) -> In {
        self.take(count, next, false, false)
    }

    fn take(&mut self, count: usize, next: In, is_code: bool, is_comment: bool) -> In {
        for _ in 0..count {
            let Some(c) = self.peek(0) else { break };
            self.code.push(if is_code || c == '\n' { c } else { ' ' });
            self.comment.push(if is_comment || c == '\n' { c } else { ' ' });
            self.at += 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        let squeezed: Vec<_> = mask(text).0.split_whitespace().map(str::to_owned).collect();
        squeezed.join(" ")
    }

    #[test]
    fn comments_go_to_the_comments() {
        let (code, comment) = mask("a // b\n/* c /* d */ e */ f\n");
        assert_eq!(code, format!("a     \n{} f\n", " ".repeat(17)));
        assert_eq!(comment, "  // b\n/* c /* d */ e */  \n");
    }

    #[test]
    fn strings_keep_their_quotes_alone() {
        assert_eq!(code(r#"f("a \" // b", c)"#), "f(\" \", c)");
        assert_eq!(code("f(r#\"a \" {\"#, c)"), "f(r#\" \"#, c)");
        assert_eq!(code("f(br\"{\\\", c)"), "f(br\" \", c)");
        assert_eq!(code("r#type + bar\"{\""), "r#type + bar\" \"");
    }

    #[test]
    fn characters_hide_and_lifetimes_do_not() {
        assert_eq!(code("'{' x '\\'' y '\\u{7f}' z"), "' ' x ' ' y ' ' z");
        assert_eq!(code("fn a<'a>(x: &'a str) {"), "fn a<'a>(x: &'a str) {");
        assert_eq!(code("'\"' \"{\""), "' ' \" \"");
    }

    #[test]
    fn line_breaks_stay_in_both() {
        let (code, comment) = mask("\"a\nb\" // c\n/* d\ne */\n'\\n'\n");
        assert_eq!((code.lines().count(), comment.lines().count()), (5, 5));
    }
}
