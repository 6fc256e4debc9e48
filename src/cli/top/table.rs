//! Puts cells under heads. Where it is narrow, columns that matter less go first.

use unicode_width::UnicodeWidthStr as _;

use super::text::{Line, Tone, cut, pad};
use crate::common::text::printable;

/// Between two columns.
const GAP: usize = 2;

/// The last column is not narrower than so much for the sake of others.
const LAST: usize = 14;

/// No other column is wider than so much on a screen.
const WIDEST: usize = 40;

/// A printed cell has no more characters than so many: subjects come from tokens, and may be long.
const MOST: usize = 200;

/// Says what a column is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Stands above it.
    pub(crate) head: &'static str,
    /// Says how soon it goes where it is narrow, the highest first, and those of the same rank together; those of rank 0
    /// stay.
    pub(crate) rank: u8,
    /// Whether it holds figures, which stand to the right.
    pub(crate) is_figure: bool,
}

impl Column {
    /// Makes one of words.
    pub(crate) const fn words(head: &'static str, rank: u8) -> Self {
        Self {
            head,
            rank,
            is_figure: false,
        }
    }

    /// Makes one of figures.
    pub(crate) const fn figures(head: &'static str, rank: u8) -> Self {
        Self {
            head,
            rank,
            is_figure: true,
        }
    }
}

/// What stands in one place.
pub(crate) type Cell = (Tone, String);

/// Columns and what stands in them.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Makes one; each row has a cell for each column. Columns in which no row has anything are left out.
    pub(crate) fn new(columns: &[Column], rows: Vec<Vec<Cell>>) -> Self {
        let is_used = |place: usize| {
            let heads_stay = rows.is_empty() || columns[place].rank == 0;
            heads_stay || rows.iter().any(|row| !row[place].1.is_empty())
        };
        let used: Vec<_> = (0..columns.len()).map(is_used).collect();
        let keep = |place: &usize| used[*place];
        let rows = rows.into_iter().map(|row| {
            let cells = row.into_iter().enumerate();
            let cells = cells.filter(|(place, _)| keep(place));
            cells
                .map(|(_, (tone, text))| (tone, printable(&short(text))))
                .collect()
        });
        Self {
            rows: rows.collect(),
            columns: (0..columns.len())
                .filter(keep)
                .map(|place| columns[place])
                .collect(),
        }
    }

    /// Writes the heads and a line for each row, all of them at most so wide.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<Line> {
        let places = self.layout(width);
        let heads = self.columns.iter();
        let heads: Vec<_> = heads
            .map(|column| (Tone::Strong, column.head.to_owned()))
            .collect();
        let rows = std::iter::once(&heads).chain(&self.rows);
        rows.map(|row| self.line(row, &places)).collect()
    }

    fn line(&self, row: &[Cell], places: &[(usize, usize)]) -> Line {
        let mut line = Line::default();
        for (number, (place, width)) in places.iter().enumerate() {
            let (tone, text) = &row[*place];
            let text = cut(text, *width);
            let last = number + 1 == places.len();
            let is_figure = self.columns[*place].is_figure;
            let text = if last && !is_figure {
                text
            } else {
                pad(&text, *width, is_figure)
            };
            let gap = if last { 0 } else { GAP };
            line = line.and(*tone, text).and(Tone::Plain, " ".repeat(gap));
        }
        line
    }

    /// Says which columns are shown and how wide they are.
    fn layout(&self, width: Option<usize>) -> Vec<(usize, usize)> {
        let natural = |place: usize| {
            let cells = self.rows.iter().map(|row| row[place].1.width());
            cells
                .max()
                .unwrap_or(0)
                .max(self.columns[place].head.width())
        };
        let mut places: Vec<_> = (0..self.columns.len())
            .map(|place| (place, natural(place)))
            .collect();
        let (Some(width), Some((_, last))) = (width, places.pop()) else {
            return places_of_all(self.columns.len(), natural);
        };
        for (_, width) in &mut places {
            *width = (*width).min(WIDEST);
        }
        let rank = |place: &(usize, usize)| self.columns[place.0].rank;
        let taken = |places: &[(usize, usize)]| places.iter().map(|(_, w)| w + GAP).sum::<usize>();
        while taken(&places) + last.min(LAST) > width {
            let highest = places.iter().map(rank).max().filter(|rank| *rank > 0);
            let Some(highest) = highest else { break };
            places.retain(|place| rank(place) < highest);
        }
        let rest = width.saturating_sub(taken(&places));
        places.push((self.columns.len() - 1, last.min(rest)));
        places
    }
}

fn places_of_all(count: usize, natural: impl Fn(usize) -> usize) -> Vec<(usize, usize)> {
    (0..count).map(|place| (place, natural(place))).collect()
}

/// Shortens what nobody wants to read in whole.
fn short(text: String) -> String {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::text::tests::{HOSTILE, assert_harmless};

    const COLUMNS: [Column; 4] = [
        Column::figures("ID", 0),
        Column::words("ADDRESS", 2),
        Column::figures("SENT", 1),
        Column::words("SUBJECT", 0),
    ];

    fn table(subject: &str) -> Table {
        let row = |id: &str, subject: &str| {
            [id, "10.0.0.1", "2.0 MB", subject]
                .map(|text| (Tone::Plain, text.to_owned()))
                .to_vec()
        };
        Table::new(
            &COLUMNS,
            vec![row("7", subject), row("123", "漢字 and more text")],
        )
    }

    fn texts(table: &Table, width: Option<usize>) -> Vec<String> {
        let lines = table.lines(width);
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_matters_less_goes_first_and_the_last_column_takes_the_rest() {
        let table = table("one");
        assert_eq!(
            texts(&table, None),
            [
                " ID  ADDRESS     SENT  SUBJECT",
                "  7  10.0.0.1  2.0 MB  one",
                "123  10.0.0.1  2.0 MB  漢字 and more text",
            ]
        );
        assert_eq!(
            texts(&table, Some(40)),
            texts(&table, None)[..2]
                .iter()
                .cloned()
                .chain(["123  10.0.0.1  2.0 MB  漢字 and more te…".to_owned(),])
                .collect::<Vec<_>>()
        );
        assert_eq!(texts(&table, Some(30))[2], "123  2.0 MB  漢字 and more te…");
        assert_eq!(texts(&table, Some(20))[2], "123  漢字 and more …");
        for width in 0..60 {
            let wide = table
                .lines(Some(width))
                .into_iter()
                .map(|line| line.to_string().width());
            assert!(wide.max() <= Some(width.max(5)), "{width}");
        }
    }

    #[test]
    fn each_row_is_one_line_whatever_stands_in_it() {
        let lines = texts(&table(HOSTILE), None);
        assert_harmless(&lines[1]);
        let long = texts(&table(&"y".repeat(1000)), None);
        assert!(
            long[1].ends_with("yyy...") && long[1].len() < 250,
            "{long:?}"
        );
    }

    #[test]
    fn a_column_without_anything_is_left_out() {
        let cells = ["7", "", "", "x"].map(|text| (Tone::Plain, text.to_owned()));
        let table = Table::new(&COLUMNS, vec![cells.to_vec()]);
        assert_eq!(texts(&table, None), ["ID  SUBJECT", " 7  x"]);
        assert_eq!(texts(&Table::new(&COLUMNS, vec![]), None)[0].len(), 26);
    }
}
