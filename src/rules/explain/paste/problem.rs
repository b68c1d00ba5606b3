//! The problems that a pasted text shows.

use crate::model::{ConditionType, Reason};
use crate::rules::explain::{Row, rank};

/// Maximum number of problems that are reported.
pub(super) const MOST_PROBLEMS: usize = 64;

/// What a text says.
#[derive(Debug, Clone, Default)]
pub struct Explanation {
    /// The problems, the worst first.
    pub problems: Vec<Problem>,
    /// Objects that the text shows without a problem.
    pub healthy: Vec<String>,
}

/// A problem that a text shows.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The object with the problem, such as `TigeraStatus calico`, if the text names it.
    pub object: Option<String>,
    /// The row of the table that fits.
    pub row: &'static Row,
    /// Names in the text that the row is about.
    pub names: Vec<String>,
    /// The command that shows more, where the text shows too little.
    pub command: Option<String>,
}

impl Explanation {
    /// Whether the text is understood: it shows healthy objects, or at least one problem is known.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        match self.problems.as_slice() {
            [] => !self.healthy.is_empty(),
            problems => problems.iter().any(|problem| problem.row.reason != Reason::ComponentDegraded),
        }
    }

    /// Adds a problem. Two of one object and kind are one with the names of both.
    pub(super) fn add(&mut self, problem: Problem) {
        let same = |one: &Problem| one.object == problem.object && std::ptr::eq(one.row, problem.row);
        match self.problems.iter().position(same).and_then(|known| self.problems.get_mut(known)) {
            Some(known) => {
                let new = problem.names.into_iter().filter(|name| !known.names.contains(name)).collect::<Vec<_>>();
                known.names.extend(new);
            }
            None => self.problems.push(problem),
        }
        self.problems.truncate(MOST_PROBLEMS);
    }

    /// Removes what another problem explains better, and puts the worst first.
    pub(super) fn finish(mut self) -> Self {
        if self.problems.iter().any(|problem| problem.row.reason != Reason::ComponentDegraded) {
            self.problems.retain(|problem| problem.object.is_some() || problem.row.reason != Reason::ComponentDegraded);
        }
        let says_why = |problem: &Problem| is_cause_of_pull(problem.row.reason);
        let objects: Vec<Option<String>> =
            self.problems.iter().filter(|one| says_why(one)).map(|one| one.object.clone()).collect();
        self.problems.retain(|problem| {
            let is_explained = objects.contains(&problem.object) || problem.object.is_none() && !objects.is_empty();
            problem.row.reason != Reason::PullFailed || !is_explained
        });
        self.problems.iter_mut().for_each(|problem| problem.names.sort());
        self.problems.sort_by_key(|problem| rank(problem.row));
        self
    }
}

/// Whether a reason says why an image cannot be pulled.
fn is_cause_of_pull(reason: Reason) -> bool {
    reason.condition() == ConditionType::ImagePullFailing && reason != Reason::PullFailed
}
