//! What the double saw and did, with the time of each.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::super::rules::Rejection;

/// One entry of the timeline.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When, on this process's monotonic clock.
    pub at: Instant,
    /// The resourceVersion of the object it is about, where there is one.
    pub resource_version: Option<String>,
    /// What happened.
    pub what: What,
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.what)?;
        match &self.resource_version {
            Some(version) => write!(formatter, " (rv={version})"),
            None => Ok(()),
        }
    }
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A pod for a new image of the Deployment was made.
    OperatorPodCreated { image: String },
    /// That pod is Ready.
    OperatorPodReady { image: String },
    /// An old pod was removed.
    OperatorPodRemoved { image: String },
    /// A build took over: it reads everything again.
    OperatorTookOver { image: String, version: String },
    /// A pod runs an image of a build that the test has not declared; nothing reconciles.
    UnknownOperator { image: String },
    /// The operator read its ImageSet; the entry's resourceVersion is the set's, `None` if it was not found.
    LookedFor { name: String, found: bool },
    /// Images go by tag: no ImageSet counts.
    UsesTags,
    /// A component became Degraded.
    Degraded(Rejection),
    /// A component is no longer Degraded.
    Recovered { component: String },
    /// A workload's template was written.
    Rendered { workload: String },
    /// A workload is rolled out.
    RolledOut { workload: String },
    /// `Installation.status.imageSet` was written (empty: by tag).
    Selected { name: String },
    /// Selected, in every template, and rolled out.
    Adopted { name: String },
    /// It could not reconcile, or can again (empty).
    Problem { text: String },
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OperatorPodCreated { image } => write!(formatter, "operator pod created: {image}"),
            Self::OperatorPodReady { image } => write!(formatter, "operator pod ready: {image}"),
            Self::OperatorPodRemoved { image } => write!(formatter, "operator pod removed: {image}"),
            Self::OperatorTookOver { version, .. } => write!(formatter, "operator {version} took over"),
            Self::UnknownOperator { image } => write!(formatter, "unknown operator build {image}"),
            Self::LookedFor { name, found: true } => write!(formatter, "looked for {name}: found"),
            Self::LookedFor { name, found: false } => write!(formatter, "looked for {name}: not found"),
            Self::UsesTags => write!(formatter, "uses tags"),
            Self::Degraded(rejection) => {
                write!(formatter, "{} Degraded: {}: {}", rejection.component, rejection.reason, rejection.message)
            }
            Self::Recovered { component } => write!(formatter, "{component} recovered"),
            Self::Rendered { workload } => write!(formatter, "rendered {workload}"),
            Self::RolledOut { workload } => write!(formatter, "rolled out {workload}"),
            Self::Selected { name } => write!(formatter, "status.imageSet is {name:?}"),
            Self::Adopted { name } => write!(formatter, "adopted {name}"),
            Self::Problem { text } if text.is_empty() => write!(formatter, "can look again"),
            Self::Problem { text } => write!(formatter, "could not look: {text}"),
        }
    }
}

/// From when until when a component was Degraded, in the words of its TigeraStatus. A change of words is a new span.
#[derive(Clone, Debug)]
pub struct DegradedSpan {
    /// The name of the TigeraStatus.
    pub component: String,
    /// The condition's reason.
    pub reason: String,
    /// The condition's message.
    pub message: String,
    /// When it began.
    pub from: Instant,
    /// When it ended, if it has.
    pub until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Seen>,
    degraded: Vec<DegradedSpan>,
    adopted: Option<String>,
    looked_for: Option<(String, Option<String>)>,
    problem: Option<String>,
}

/// The shared record of one double.
#[derive(Clone, Debug, Default)]
pub struct Timeline(Arc<Mutex<Inner>>);

impl Timeline {
    pub fn events(&self) -> Vec<Seen> {
        self.0.lock().unwrap().events.clone()
    }

    pub fn degraded(&self) -> Vec<DegradedSpan> {
        self.0.lock().unwrap().degraded.clone()
    }

    pub fn adopted(&self) -> Option<String> {
        self.0.lock().unwrap().adopted.clone()
    }

    pub(super) fn note(&self, what: What, resource_version: Option<String>) {
        let at = Instant::now();
        self.0.lock().unwrap().events.push(Seen { at, resource_version, what });
    }

    /// Notes a search for a set, if its answer is news; says whether it was.
    pub(super) fn looked_for(&self, name: &str, found: Option<String>) -> bool {
        let news = (name.to_owned(), found.clone());
        let is_news = self.0.lock().unwrap().looked_for.replace(news.clone()) != Some(news);
        if is_news {
            self.note(What::LookedFor { name: name.to_owned(), found: found.is_some() }, found);
        }
        is_news
    }

    /// A new build: the next search is an event again.
    pub(super) fn forget_search(&self) {
        self.0.lock().unwrap().looked_for = None;
    }

    /// Opens, keeps or closes the component's span.
    pub(super) fn component(&self, component: &str, rejection: Option<&Rejection>) {
        let now = Instant::now();
        let mut inner = self.0.lock().unwrap();
        let open = inner.degraded.iter_mut().find(|span| span.component == component && span.until.is_none());
        let same = match (&open, rejection) {
            (Some(span), Some(rejection)) => span.reason == rejection.reason && span.message == rejection.message,
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        if let Some(span) = open {
            span.until = Some(now);
        }
        let what = match rejection {
            Some(rejection) => {
                inner.degraded.push(DegradedSpan {
                    component: component.to_owned(),
                    reason: rejection.reason.clone(),
                    message: rejection.message.clone(),
                    from: now,
                    until: None,
                });
                What::Degraded(rejection.clone())
            }
            None => What::Recovered { component: component.to_owned() },
        };
        inner.events.push(Seen { at: now, resource_version: None, what });
    }

    pub(super) fn set_adopted(&self, name: Option<&str>) {
        let before = std::mem::replace(&mut self.0.lock().unwrap().adopted, name.map(str::to_owned));
        if let Some(name) = name
            && before.as_deref() != Some(name)
        {
            self.note(What::Adopted { name: name.to_owned() }, None);
        }
    }

    pub(super) fn problem(&self, problem: Option<String>) {
        let before = std::mem::replace(&mut self.0.lock().unwrap().problem, problem.clone());
        if before != problem {
            self.note(What::Problem { text: problem.unwrap_or_default() }, None);
        }
    }
}
