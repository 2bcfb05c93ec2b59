//! Two accounts of the same thing, compared line by line.

pub(super) mod claims;
pub(super) mod kernel;
pub(super) mod log;
pub(super) mod projections;

use std::{collections::BTreeSet, fmt};

/// Most differences that are shown.
const SHOWN: usize = 30;

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// What was compared with what.
    what: String,
    /// How many things were.
    size: usize,
    /// What is not as expected, a line each.
    differences: Vec<String>,
}

impl Comparison {
    /// `found` must be the same set of lines as `expected`.
    fn of_sets(
        what: &str,
        expected: impl IntoIterator<Item = String>,
        found: impl IntoIterator<Item = String>,
    ) -> Self {
        let expected: BTreeSet<String> = expected.into_iter().collect();
        let found: BTreeSet<String> = found.into_iter().collect();
        let missing = expected.difference(&found).map(|line| format!("- {line}"));
        let differences =
            missing.chain(found.difference(&expected).map(|line| format!("+ {line}")));
        Self { what: what.to_owned(), size: expected.len(), differences: differences.collect() }
    }

    /// There must be no `differences` among `size` things.
    fn of_differences(what: &str, size: usize, differences: Vec<String>) -> Self {
        Self { what: what.to_owned(), size, differences }
    }

    /// Whether both accounts agree.
    pub fn is_identical(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_identical() { "identical" } else { "DIFFERENT" };
        write!(f, "{verdict}  {} ({})", self.what, self.size)?;
        for difference in self.differences.iter().take(SHOWN) {
            write!(f, "\n    {difference}")?;
        }
        match self.differences.len().checked_sub(SHOWN) {
            Some(more @ 1..) => write!(f, "\n    and {more} more"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_too_much_is_shown() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let same = Comparison::of_sets("letters", lines("a b"), lines("b a"));
        assert!(same.is_identical());
        assert_eq!(same.to_string(), "identical  letters (2)");
        let other = Comparison::of_sets("letters", lines("a b"), lines("b c"));
        assert_eq!(other.to_string(), "DIFFERENT  letters (2)\n    - a\n    + c");
    }
}
