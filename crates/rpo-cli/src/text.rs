//! Text from outside, made safe to show: a name on a disk or in a store may hold what steers a terminal.

use std::borrow::Cow;
use std::path::Path;

/// `text` on one line: everything that is not shown as itself is written as an escape.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, steers)
}

/// The same for text of several lines.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && steers(c))
}

/// A path as people write it, on one line.
pub(crate) fn path(path: &Path) -> String {
    line(&path.to_string_lossy()).into_owned()
}

fn escaped(text: &str, hides: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hides) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hides(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Control characters, and those that turn the direction of what follows.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_reaches_the_terminal_as_a_command() {
        assert_eq!(line("red\u{1b}[31m\nforged\u{202e}"), "red\\u{1b}[31m\\nforged\\u{202e}");
        assert_eq!(lines("a\u{9b}31m\nb"), "a\\u{9b}31m\nb");
        assert_eq!(line("plain, 🌍 and `quoted`"), "plain, 🌍 and `quoted`");
    }
}
