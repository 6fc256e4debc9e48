//! Lines for a terminal: pieces of text with a tone. Whatever comes from elsewhere is made harmless here, once for all.

use std::fmt;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::common::text::printable;

/// Says what a piece of text is to the reader. The screen gives it a colour, if colours are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Is as it should be.
    #[default]
    Plain,
    /// Matters less than what stands beside it.
    Faint,
    /// Is a head, or a key to press.
    Strong,
    /// Is worth a look.
    Notice,
    /// May become wrong.
    Warning,
    /// Is wrong.
    Alarm,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pieces: Vec<(Tone, String)>,
    /// Whether it is shown the other way round, as what is chosen.
    pub(crate) is_chosen: bool,
}

impl Line {
    /// Begins with this piece.
    pub(crate) fn new(tone: Tone, text: impl AsRef<str>) -> Self {
        Self::default().and(tone, text)
    }

    /// Adds a piece.
    #[must_use]
    pub(crate) fn and(mut self, tone: Tone, text: impl AsRef<str>) -> Self {
        self.pieces.push((tone, printable(text.as_ref())));
        self
    }

    /// Gives the pieces.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (Tone, &str)> {
        self.pieces.iter().map(|(tone, text)| (*tone, &**text))
    }

    /// Cuts off what is beyond this width, and fills up to it if the line is chosen.
    pub(crate) fn fit(&mut self, width: usize) {
        let mut room = width;
        for (_, text) in &mut self.pieces {
            if text.width() > room {
                *text = cut(text, room);
            }
            room -= text.width();
        }
        if self.is_chosen && room > 0 {
            self.pieces.push((Tone::Plain, " ".repeat(room)));
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces
            .iter()
            .try_for_each(|(_, text)| f.write_str(text))
    }
}

/// Shortens text to a width; an ellipsis says that something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut short, mut room) = (String::new(), width.saturating_sub(1));
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if width > room {
            break;
        }
        room -= width;
        short.push(c);
    }
    if width > 0 {
        short.push('…');
    }
    short
}

/// Fills text up to a width; `right` puts it to the right.
pub(crate) fn pad(text: &str, width: usize, right: bool) -> String {
    let fill = " ".repeat(width.saturating_sub(text.width()));
    if right {
        format!("{fill}{text}")
    } else {
        format!("{text}{fill}")
    }
}

/// Draws figures as bars of eighths, the largest the highest.
pub(crate) fn bars(figures: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = figures.iter().copied().max().unwrap_or(0).max(1);
    let bar = |figure: &u64| match figure {
        0 => ' ',
        _ => BARS[(u128::from(*figure) * 7 / u128::from(most)) as usize],
    };
    figures.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::text::tests::{HOSTILE, assert_harmless};

    #[test]
    fn foreign_text_is_harmless_and_keeps_to_its_width() {
        let mut line = Line::new(Tone::Plain, HOSTILE).and(Tone::Alarm, "漢字");
        assert_harmless(&line.to_string());
        let whole = line.to_string().width();
        line.fit(whole - 1);
        assert!(line.to_string().ends_with('…'));
        // A wide character does not stand half in, half out.
        assert_eq!(line.to_string().width(), whole - 1);
        line.fit(3);
        assert_eq!(line.to_string().width(), 3);
        line.is_chosen = true;
        line.fit(20);
        assert_eq!(line.to_string().width(), 20);
    }

    #[test]
    fn text_is_cut_and_filled_by_columns_and_not_by_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("漢字漢", 4), "漢…");
        assert_eq!(cut("e\u{301}e\u{301}", 2), "e\u{301}e\u{301}");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(pad("漢", 4, false), "漢  ");
        assert_eq!(pad("漢", 4, true), "  漢");
    }

    #[test]
    fn the_largest_figure_has_the_highest_bar() {
        assert_eq!(bars(&[0, 1, 50, 100]), " ▁▄█");
        assert_eq!(bars(&[0, 0]), "  ");
        assert_eq!(bars(&[u64::MAX]), "█");
    }
}
