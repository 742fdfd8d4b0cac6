//! A first look at an expression, before the parser's: where its tokens are, and that there are few enough of them.
//!
//! The parser recurses, so a hostile expression must not reach it. This scan reads strings and numbers exactly as CEL's
//! grammar does and refuses what it doesn't know; so what it counts is what the parser will see.

use super::error::CompileError;

/// Most characters of an expression.
pub const MAX_LENGTH: usize = 2048;
/// Most tokens of an expression.
pub(super) const MAX_TOKENS: usize = 300;
/// Deepest nesting of brackets.
pub(super) const MAX_BRACKETS: usize = 16;

/// Checks that the parser can be let at it.
pub(super) fn check(source: &str) -> Result<(), CompileError> {
    let chars: Vec<char> = source.chars().take(MAX_LENGTH + 1).collect();
    if chars.len() > MAX_LENGTH {
        return Err(CompileError::new(format!(
            "an expression has at most {MAX_LENGTH} characters"
        )));
    }
    Scan {
        source,
        chars: &chars,
        at: 0,
    }
    .run()
}

struct Scan<'a> {
    source: &'a str,
    chars: &'a [char],
    at: usize,
}

impl Scan<'_> {
    fn run(mut self) -> Result<(), CompileError> {
        let mut tokens = 0;
        let mut brackets = 0_usize;
        let mut after_dot = false;
        while let Some(c) = self.peek(0) {
            let start = self.at;
            let mut dot = false;
            match c {
                ' ' | '\t' | '\r' | '\n' | '\u{c}' => {
                    self.at += 1;
                    continue;
                }
                '/' if self.peek(1) == Some('/') => {
                    self.skip_while(|c| c != '\n');
                    continue;
                }
                'a'..='z' | 'A'..='Z' | '_' => self.word(after_dot)?,
                '0'..='9' => self.number()?,
                '.' if self.peek(1).is_some_and(|c| c.is_ascii_digit()) => self.number()?,
                '"' | '\'' => self.string(false)?,
                '(' | '[' | '{' => {
                    brackets += 1;
                    self.at += 1;
                }
                ')' | ']' | '}' => {
                    brackets = brackets.saturating_sub(1);
                    self.at += 1;
                }
                '=' | '!' | '<' | '>' | '&' | '|' | '.' | ',' | '-' | '?' | ':' | '+' | '*'
                | '/' | '%' => {
                    dot = c == '.';
                    self.at += 1;
                }
                _ => return Err(self.error(start, format!("{c:?} has no meaning here"))),
            }
            after_dot = dot;
            tokens += 1;
            if brackets > MAX_BRACKETS {
                return Err(self.error(
                    start,
                    format!("brackets are nested more than {MAX_BRACKETS} deep"),
                ));
            }
            if tokens > MAX_TOKENS {
                return Err(self.error(
                    start,
                    format!("an expression has at most {MAX_TOKENS} names, values and operators"),
                ));
            }
        }
        if tokens == 0 {
            return Err(CompileError::new("the expression is empty")
                .hint("write `true` or `false`, or leave the field out for its default"));
        }
        Ok(())
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
    }

    fn error(&self, index: usize, message: impl Into<String>) -> CompileError {
        let offset = self.chars[..index].iter().map(|c| c.len_utf8()).sum();
        CompileError::new(message).at(self.source, offset)
    }

    /// A name; or what starts a raw string, or a macro that this environment doesn't have.
    fn word(&mut self, after_dot: bool) -> Result<(), CompileError> {
        let start = self.at;
        self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let word: String = self.chars[start..self.at].iter().collect();
        if matches!(self.peek(0), Some('"' | '\'')) {
            match word.as_str() {
                "r" | "R" => return self.string(true),
                "b" | "B" | "br" | "bR" | "Br" | "BR" => {
                    return Err(self
                        .error(start, "bytes aren't supported")
                        .hint("write a string"));
                }
                _ => {}
            }
        }
        if after_dot && word == "map" {
            // Chained, it grows values exponentially, and a policy that yields a bool has little use for it.
            return Err(self
                .error(start, "`map` isn't supported in access expressions")
                .hint("use `exists`, `all` or `filter`"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), CompileError> {
        let start = self.at;
        if self.peek(0) == Some('0') && self.peek(1) == Some('x') {
            self.at += 2;
            self.skip_while(|c| c.is_ascii_hexdigit());
        } else {
            self.skip_while(|c| c.is_ascii_digit());
            if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
                self.at += 1;
                self.skip_while(|c| c.is_ascii_digit());
            }
            if matches!(self.peek(0), Some('e' | 'E')) {
                self.at += 1;
                if matches!(self.peek(0), Some('+' | '-')) {
                    self.at += 1;
                }
                self.skip_while(|c| c.is_ascii_digit());
            }
        }
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
        }
        match self.peek(0) {
            Some(c) if c.is_ascii_alphanumeric() || c == '_' => {
                Err(self.error(start, "this is no number"))
            }
            _ => Ok(()),
        }
    }

    fn string(&mut self, raw: bool) -> Result<(), CompileError> {
        let start = self.at;
        let quote = self.peek(0);
        if self.peek(1) == quote && self.peek(2) == quote {
            return Err(self
                .error(start, "strings in three quotes aren't supported")
                .hint("use one quote on each side"));
        }
        self.at += 1;
        loop {
            match self.peek(0) {
                None | Some('\n' | '\r') => {
                    return Err(self.error(start, "this string has no end"));
                }
                c if c == quote => {
                    self.at += 1;
                    return Ok(());
                }
                Some('\\') if !raw => self.escape()?,
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), CompileError> {
        let start = self.at;
        let digits = |from: usize, count: usize, radix: u32| {
            (from..from + count).all(|i| self.peek(i).is_some_and(|c| c.is_digit(radix)))
        };
        let length = match self.peek(1) {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`') => 2,
            Some('x' | 'X') if digits(2, 2, 16) => 4,
            Some('u') if digits(2, 4, 16) => 6,
            Some('U') if digits(2, 8, 16) => 10,
            Some('0'..='3') if digits(2, 2, 8) => 4,
            _ => {
                return Err(self
                    .error(start, "this `\\` starts nothing that strings know")
                    .hint("write `\\\\`, or a raw string: r'…'"));
            }
        };
        self.at += length;
        Ok(())
    }
}
