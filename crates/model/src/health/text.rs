//! How findings write ages, lists and what others have said.

/// Names that are listed before the rest is counted.
const LIST_LIMIT: usize = 6;

/// A span in its largest unit that fits, rounded: `3 s`, `2 min`, `5 h`, `12 days`.
fn span(seconds: u64) -> String {
    let in_units = |unit: u64| seconds.saturating_add(unit / 2) / unit;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", in_units(60)),
        7200..172_800 => format!("{} h", in_units(3600)),
        _ => format!("{} days", in_units(86_400)),
    }
}

/// How long ago something was: `3 s ago`.
pub fn age(seconds: u64) -> String {
    format!("{} ago", span(seconds))
}

/// A span given in milliseconds, its sign left out: `0.2 s`, `5 s`, `4 days`.
pub fn span_ms(milliseconds: i64) -> String {
    let milliseconds = milliseconds.unsigned_abs();
    if milliseconds < 9950 {
        let tenths = (milliseconds + 50) / 100;
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        span((milliseconds + 500) / 1000)
    }
}

/// `5.0 s ahead of` or `5.0 s behind`.
pub(super) fn ahead(milliseconds: i64) -> String {
    let way = if milliseconds > 0 { "ahead of" } else { "behind" };
    format!("{} {way}", span_ms(milliseconds))
}

/// `a, b, c`, and how many more.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.iter().take(LIST_LIMIT).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LIST_LIMIT) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether a terminal shows `text` as it is written: no controls, and nothing that turns the order
/// of characters around (Unicode Standard Annex 9) or hides some.
pub fn is_plain(text: &str) -> bool {
    !text.chars().any(is_hidden)
}

/// `text` with everything escaped that is not plain.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_or_hides_text_is_not_plain_and_is_shown_as_its_number() {
        for bad in
            ["a\u{202e}b", "a\u{2066}b", "\u{200f}", "\u{1b}[2J", "\n", "\u{feff}", "\u{e0041}"]
        {
            assert!(!is_plain(bad), "{bad:?}");
            assert!(is_plain(&plain(bad)), "{bad:?}");
        }
        assert_eq!(plain("a\u{202e}b"), "a\\u{202e}b");
        for good in ["\"/var\": no space left", "Zürich", "名前", "עברית"] {
            assert_eq!(plain(good), good);
        }
    }

    #[test]
    fn spans_are_in_the_unit_a_reader_wants() {
        assert_eq!(age(7), "7 s ago");
        assert_eq!(age(90_000), "25 h ago");
        assert_eq!(span_ms(-5001), "5.0 s");
        assert_eq!(span_ms(4989), "5.0 s");
        assert_eq!(span_ms(345_599_997), "4 days");
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(["a", "b"]), "a, b");
        assert_eq!(listed(["a", "b", "c", "d", "e", "f", "g", "h"]), "a, b, c, d, e, f and 2 more");
    }
}
