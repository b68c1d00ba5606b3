//! Plans: what happens in a cluster, and what goes wrong meanwhile. A plan is data; its id replays it.

use std::fmt;
use std::time::Duration;

use crate::registry;
use crate::scenario::Scenario;
use crate::testbox::api_proxy::{self as api, CrashPoint, RequestPattern};

/// One scenario with one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub scenario: Scenario,
    pub fault: Fault,
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.scenario, self.fault)
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: what all others are compared with.
    None,
    /// The controller is killed when all is done, and another starts.
    Restart,
    /// `kill -9` at an API write, counted from 1.
    ApiCrash(usize, CrashPoint),
    /// `kill -9` at a registry request, counted from 1.
    RegistryCrash(usize),
    /// API requests take longer, from the start of the controller to the end.
    ApiDelay(RequestPattern, Duration),
    /// The first API requests of a kind are answered wrongly.
    ApiResponses(RequestPattern, usize, api::Wrong),
    /// For a while all API requests are answered wrongly.
    ApiWindow(api::Wrong, Duration),
    /// What becomes of open watches for a while.
    Watches(api::Flow),
    /// Watches are too old for a while.
    WatchesGone,
    /// One rule of the controller's rights is missing for a while.
    Right(usize),
    /// The API server is killed and starts again.
    ApiServerRestarts,
    /// Registry requests are answered wrongly, from one on.
    Registry(usize, usize, registry::Wrong),
    /// Registry requests take longer.
    RegistryDelay(Duration),
    /// Unmanaged objects.
    Object(Object),
    /// Connections to the metrics port that never say anything.
    SilentConnections,
    /// Another actor interferes.
    Rival(Rival),
}

/// Unmanaged objects that exist before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A node whose architecture is ten odd characters.
    OddNode,
    /// A node whose architecture is 100 KiB.
    LongNode,
    /// A Ready pod with the operator's labels and an image of its own.
    StrangerPod,
    /// The records have lost their labels.
    UnlabelledRecord,
    /// A digest in the records is another one.
    ChangedRecord,
    /// The status says that the last check comes in a hundred years.
    FutureTimes,
    /// A TigeraStatus of 900 KiB.
    LongStatus,
}

/// Another actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// A second instance of the controller.
    SecondInstance,
    /// The same, while the first is stopped until after its Lease has run out, and then goes on.
    StoppedInstance,
    /// A human deletes the newest set when all is done.
    HumanDeletes,
    /// A human deletes all records when all is done.
    HumanDeletesRecords,
}

impl Fault {
    /// The name under which plans are counted.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::None => "no fault",
            Self::Restart => "restart",
            Self::ApiCrash(..) => "crash at an API write",
            Self::RegistryCrash(_) => "crash at a registry request",
            Self::ApiDelay(..) => "slow API",
            Self::ApiResponses(..) | Self::ApiWindow(..) => "wrong API responses",
            Self::Watches(_) | Self::WatchesGone => "watches",
            Self::Right(_) => "rights",
            Self::ApiServerRestarts => "API server restarts",
            Self::Registry(..) => "wrong registry responses",
            Self::RegistryDelay(_) => "slow registry",
            Self::Object(_) => "hostile objects",
            Self::SilentConnections => "metrics port",
            Self::Rival(_) => "rivals",
        }
    }

    /// Whether most of its time is waiting.
    pub const fn waits(self) -> bool {
        matches!(
            self,
            Self::ApiDelay(..) | Self::Registry(..) | Self::ApiResponses(..) | Self::Rival(_) | Self::ApiWindow(..)
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |which: &RequestPattern| which.0.replace("* *", "all").replace(['/', ' '], "-").replace('*', "all");
        let kebab = |debug: String| -> String {
            let mut text = String::new();
            for one in debug.chars().filter(|one| *one != ')') {
                match one {
                    '(' => text.push('-'),
                    one if one.is_ascii_uppercase() && !text.is_empty() && !text.ends_with('-') => {
                        text.push('-');
                        text.push(one.to_ascii_lowercase());
                    }
                    one => text.push(one.to_ascii_lowercase()),
                }
            }
            text
        };
        match self {
            Self::ApiCrash(write, point) => {
                let point = match point {
                    CrashPoint::BeforeRequest => "before-it",
                    CrashPoint::BeforeResponse => "before-the-response",
                    CrashPoint::AfterResponse => "after-the-response",
                };
                write!(formatter, "api-crash-{write}-{point}")
            }
            Self::RegistryCrash(request) => write!(formatter, "registry-crash-{request}"),
            Self::ApiDelay(which, by) => write!(formatter, "api-delay-{}-{}ms", name(which), by.as_millis()),
            Self::ApiResponses(which, times, with) => {
                write!(formatter, "api-{}-{}-times-{times}", name(which), kebab(format!("{with:?}")))
            }
            Self::ApiWindow(with, time) => {
                write!(formatter, "api-all-{}-for-{}s", kebab(format!("{with:?}")), time.as_secs())
            }
            Self::Watches(flow) => write!(formatter, "watches-{}", kebab(format!("{flow:?}"))),
            Self::Right(rule) => write!(formatter, "right-{rule}"),
            Self::Registry(from, times, with) => {
                write!(formatter, "registry-{from}-{}-times-{times}", kebab(format!("{with:?}")))
            }
            Self::RegistryDelay(by) => write!(formatter, "registry-delay-{}ms", by.as_millis()),
            Self::Object(object) => write!(formatter, "object-{}", kebab(format!("{object:?}"))),
            Self::Rival(rival) => write!(formatter, "rival-{}", kebab(format!("{rival:?}"))),
            other => formatter.write_str(&kebab(format!("{other:?}"))),
        }
    }
}

/// What a run without faults did.
#[derive(Clone, Debug)]
pub struct Counts {
    /// API writes, each as verb and path.
    pub writes: Vec<String>,
    /// Registry requests.
    pub requests: usize,
    /// Rules of the controller's rights.
    pub rules: usize,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Every plan of a scenario, by what a run of it without faults did. The controller is killed at each write at each of three
/// points; a status and an event are alike in all scenarios, so that outside the main one the hardest point will do for a
/// status (stored, and not heard of), and none for an event, which nothing depends on.
pub fn of(scenario: Scenario, counts: &Counts) -> Vec<Plan> {
    use registry::Wrong as FromRegistry;
    let mut faults = vec![Fault::Restart];
    for (number, write) in (1..).zip(&counts.writes) {
        let is_status = !scenario.is_main() && write.ends_with("/status");
        let is_event = !scenario.is_main() && write.contains("/events");
        let points = CrashPoint::ALL.into_iter().filter(|point| !is_status || *point == CrashPoint::BeforeResponse);
        let points = points.filter(|_| !is_event);
        faults.extend(points.map(|point| Fault::ApiCrash(number, point)));
    }
    let every = |count: usize| if scenario.is_main() { 1 } else { (count / 2).max(1) };
    faults.extend((1..=counts.requests).step_by(every(counts.requests)).map(Fault::RegistryCrash));
    if scenario.is_main() {
        faults.extend([100, 1000, 5000].map(|by| Fault::ApiDelay(RequestPattern("* *"), ms(by))));
        let some = ["get *", "list *", "patch *", "create *", "* secrets", "* configmaps", "* imagesets", "* leases"];
        faults.extend(some.map(|which| Fault::ApiDelay(RequestPattern(which), ms(1000))));
        faults.push(Fault::ApiDelay(RequestPattern("get secrets"), ms(5000)));
        let wrong = [
            api::Wrong::Status(409),
            api::Wrong::Status(500),
            api::Wrong::Status(503),
            api::Wrong::TooManyRequests,
            api::Wrong::Silence,
            api::Wrong::Unheard,
            api::Wrong::Truncated,
            api::Wrong::Half,
        ];
        for with in wrong {
            let which = ["create imagesets", "create configmaps", "patch imagesetpolicies/status", "list imagesets"];
            faults.extend(which.map(|which| Fault::ApiResponses(RequestPattern(which), 1, with)));
        }
        faults.push(Fault::ApiResponses(RequestPattern("get deployments"), 3, api::Wrong::Status(500)));
        faults.push(Fault::ApiResponses(RequestPattern("get secrets"), 3, api::Wrong::Status(500)));
        faults.push(Fault::ApiResponses(RequestPattern("* *"), 20, api::Wrong::Status(503)));
        faults.push(Fault::ApiWindow(api::Wrong::Status(500), Duration::from_secs(3)));
        faults.push(Fault::ApiWindow(api::Wrong::Silence, Duration::from_secs(20)));
        faults.push(Fault::WatchesGone);
        faults.push(Fault::ApiServerRestarts);
        faults.extend((0..counts.rules).map(Fault::Right));
        let middle = (counts.requests / 2).max(1);
        let wrong = [
            FromRegistry::Status(401),
            FromRegistry::Status(403),
            FromRegistry::Status(404),
            FromRegistry::Status(500),
            FromRegistry::TooManyRequests,
            FromRegistry::Truncated,
            FromRegistry::OtherDigest,
            FromRegistry::Page,
            FromRegistry::Redirect,
        ];
        faults.extend(wrong.map(|with| Fault::Registry(middle, 1, with)));
        faults.push(Fault::Registry(1, 3, FromRegistry::Status(503)));
        faults.push(Fault::Registry(middle, 1, FromRegistry::Silence));
        faults.push(Fault::Registry(middle, 1, FromRegistry::Flood));
        faults.push(Fault::RegistryDelay(ms(500)));
        faults.push(Fault::SilentConnections);
        faults.push(Fault::Rival(Rival::StoppedInstance));
        faults.push(Fault::Rival(Rival::HumanDeletes));
        faults.push(Fault::Rival(Rival::HumanDeletesRecords));
    }
    if scenario.is_thorough() || scenario == Scenario::RotatedCredential {
        faults.push(Fault::ApiDelay(RequestPattern("* *"), ms(300)));
    }
    if scenario.is_thorough() {
        faults.push(Fault::Rival(Rival::SecondInstance));
        faults.extend([api::Flow::Stalls, api::Flow::Cut].map(Fault::Watches));
        faults.push(Fault::Object(Object::OddNode));
        if scenario.is_armed() {
            faults.extend([Object::UnlabelledRecord, Object::ChangedRecord].map(Fault::Object));
        }
        if scenario.is_main() || scenario == Scenario::StagedUpgrade {
            let others = [Object::LongNode, Object::StrangerPod, Object::LongStatus, Object::FutureTimes];
            let others = others.into_iter().filter(|one| scenario.is_armed() || *one != Object::FutureTimes);
            faults.extend(others.map(Fault::Object));
        }
    }
    faults.retain(|fault| scenario.allows(*fault));
    faults.into_iter().map(|fault| Plan { scenario, fault }).collect()
}
