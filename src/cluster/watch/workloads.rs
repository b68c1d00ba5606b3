//! Watches of the operator's workloads: for each place a store of DaemonSets and one of Deployments.

use kube::api::Api;
use kube_runtime::watcher;

use super::store::Store;
use super::tasks::{Tasks, all, soon};
use crate::api::workload::{DaemonSet, Deployment};
use crate::cluster::read::objects::{self, GATEWAY_PROXIES};
use crate::cluster::read::request::all_of;
use crate::model::{Read, Workload, is_managed_namespace};

/// The workloads of one place.
pub type Stores = [Store<Workload>; 2];

/// Watches the workloads in a namespace.
pub fn in_namespace(tasks: &mut Tasks, namespace: &str) -> Stores {
    let client = &tasks.client;
    let apis = (Api::namespaced(client.clone(), namespace), Api::namespaced(client.clone(), namespace));
    watch(tasks, apis, &all(), |_| true)
}

/// Watches the workloads of Gateways in namespaces that are not watched as a whole.
pub fn of_gateways(tasks: &mut Tasks) -> Stores {
    let apis = (Api::all(tasks.client.clone()), Api::all(tasks.client.clone()));
    watch(tasks, apis, &all().labels(GATEWAY_PROXIES), |one| !is_managed_namespace(&one.namespace))
}

fn watch(
    tasks: &mut Tasks,
    (daemon_sets, deployments): (Api<DaemonSet>, Api<Deployment>),
    which: &watcher::Config,
    keep: fn(&Workload) -> bool,
) -> Stores {
    [
        tasks.watch(daemon_sets, which.clone(), move |one| Some(objects::daemon_set(&one)).filter(keep), soon),
        tasks.watch(deployments, which.clone(), move |one| Some(objects::deployment(&one)).filter(keep), soon),
    ]
}

/// Returns the workloads in all of these stores; `None` where one has to be read from the API server.
pub fn read<'a>(stores: impl Iterator<Item = &'a Store<Workload>>) -> Option<Read<Vec<Workload>>> {
    stores.map(Store::list).collect::<Option<Vec<_>>>().map(all_of)
}

#[cfg(test)]
mod tests {
    use kube_runtime::watcher::Event;

    use super::*;
    use crate::cluster::read::request::MOST_OBJECTS;
    use crate::cluster::watch::store::Watched;
    use crate::cluster::watch::wake::Urgency;

    fn store(workloads: usize) -> Store<Workload> {
        let store = Store::new("list daemonsets.apps in calico-system");
        let one = |number: usize| {
            let text = format!(
                "metadata: {{name: w{number}, namespace: calico-system}}\nspec: {{selector: {{}}, template: {{}}}}"
            );
            let set: DaemonSet = crate::yaml::from_str(&text).unwrap();
            Watched { name: number.to_string(), version: number.to_string(), value: Some(objects::daemon_set(&set)) }
        };
        let applied = (0..workloads).map(|number| Event::InitApply(one(number)));
        for event in [Event::Init].into_iter().chain(applied) {
            store.event(event, |_, _| Urgency::Soon);
        }
        if workloads <= MOST_OBJECTS {
            store.event(Event::InitDone, |_, _| Urgency::Soon);
        }
        store
    }

    #[test]
    fn too_many_workloads_are_a_failure_and_not_none() {
        let some = store(2);
        assert!(matches!(read([&some].into_iter()), Some(Read::Known(found)) if found.len() == 2));
        let full = store(MOST_OBJECTS + 1);
        assert!(matches!(read([&some, &full].into_iter()), Some(Read::Failed(_))));
        let unknown = Store::new("list deployments.apps in calico-system");
        assert_eq!(read([&some, &unknown].into_iter()), None);
    }
}
