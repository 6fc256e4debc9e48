//! What is chosen in a list, and which part of the list is seen.

/// Follows what was chosen, wherever it stands in the list.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    /// Names what is chosen.
    chosen: Option<String>,
    /// Where that stood last.
    at: usize,
    /// The first that is seen.
    top: usize,
    /// How many were seen last.
    height: usize,
}

/// Where to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// By one.
    Up,
    /// By one.
    Down,
    /// By as many as are seen.
    PageUp,
    /// By as many as are seen.
    PageDown,
    /// To the first.
    First,
    /// To the last.
    Last,
}

impl Cursor {
    /// Tells which one is chosen, if it is there.
    pub(super) fn index(&self, names: &[String]) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        names.iter().position(|name| name == chosen)
    }

    /// Chooses another one.
    pub(super) fn go(&mut self, step: Step, names: &[String]) {
        let Some(last) = names.len().checked_sub(1) else {
            return;
        };
        let page = self.height.saturating_sub(1).max(1);
        let next = match (self.index(names), step) {
            (_, Step::First) => 0,
            (_, Step::Last) => last,
            // What was chosen has gone, or there was nothing: on from where the eye is.
            (None, Step::PageDown) => self.top + page,
            (None, _) => self.at.clamp(self.top, self.top + self.height.max(1) - 1),
            (Some(at), Step::Up) => at.saturating_sub(1),
            (Some(at), Step::Down) => at + 1,
            (Some(at), Step::PageUp) => at.saturating_sub(page),
            (Some(at), Step::PageDown) => at + page,
        };
        self.at = next.min(last);
        self.chosen = Some(names[self.at].clone());
    }

    /// Chooses nothing. False if nothing was chosen.
    pub(super) fn clear(&mut self) -> bool {
        self.chosen.take().is_some()
    }

    /// Begins anew, as for another list.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Moves what is seen so that the chosen one is among it, and gives the first one that is seen.
    pub(super) fn show(&mut self, names: &[String], height: usize) -> usize {
        self.height = height;
        if let Some(at) = self.index(names) {
            self.at = at;
            self.top = self.top.clamp((at + 1).saturating_sub(height.max(1)), at);
        }
        self.top = self.top.min(names.len().saturating_sub(height));
        self.top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
        numbers
            .into_iter()
            .map(|number| number.to_string())
            .collect()
    }

    #[test]
    fn the_chosen_one_is_followed_and_stays_in_sight() {
        let mut cursor = Cursor::default();
        let all = names(0..100);
        assert_eq!((cursor.show(&all, 10), cursor.index(&all)), (0, None));
        cursor.go(Step::Down, &all);
        assert_eq!(cursor.index(&all), Some(0));
        cursor.go(Step::PageDown, &all);
        cursor.go(Step::Down, &all);
        assert_eq!((cursor.show(&all, 10), cursor.index(&all)), (1, Some(10)));
        // The list is sorted anew.
        let turned = names((0..100).rev());
        assert_eq!(cursor.index(&turned), Some(89));
        assert_eq!(cursor.show(&turned, 10), 80);
        cursor.go(Step::Last, &turned);
        assert_eq!(
            (cursor.show(&turned, 10), cursor.index(&turned)),
            (90, Some(99))
        );
        cursor.go(Step::Down, &turned);
        cursor.go(Step::First, &turned);
        cursor.go(Step::Up, &turned);
        assert_eq!(
            (cursor.show(&turned, 10), cursor.index(&turned)),
            (0, Some(0))
        );
    }

    #[test]
    fn when_the_chosen_one_goes_no_other_takes_its_place() {
        let mut cursor = Cursor::default();
        let all = names(0..5);
        cursor.show(&all, 3);
        for _ in 0..3 {
            cursor.go(Step::Down, &all);
        }
        assert_eq!(cursor.index(&all), Some(2));
        let left = names([0, 1, 3, 4]);
        assert_eq!(cursor.index(&left), None);
        cursor.go(Step::Down, &left);
        assert_eq!(cursor.index(&left), Some(2), "on from where it was");
        assert!(cursor.clear() && !cursor.clear());
        cursor.go(Step::Down, &[]);
        assert_eq!(cursor.show(&[], 3), 0);
    }
}
