//! One read from the API server, as a value: a failure takes away nothing but what needs it.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::core::ObjectList;
use serde::de::DeserializeOwned;

use crate::model::{Read, ReadFailure, foreign_text::escaped};

/// The longest that one read may take.
pub const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Most objects of one list that are kept; the operator's kinds, the records and the workloads of a namespace are far fewer.
pub const MOST_OBJECTS: usize = 500;

/// Most nodes, or pods of a namespace, that the command line counts: more than Kubernetes supports.
pub const MOST_COUNTED: usize = 200_000;

/// One read with its deadline, as a value. 404 means that the kind is not installed: objects are read by list, or with
/// `get_opt`.
pub async fn read<T>(what: &str, reading: impl Future<Output = Result<T, kube::Error>>) -> Read<T> {
    let failed = |forbidden: bool, message: String| {
        Read::Failed(ReadFailure { what: what.to_owned(), forbidden, message: escaped(&message) })
    };
    match tokio::time::timeout(READ_DEADLINE, reading).await {
        Ok(Ok(value)) => Read::Known(value),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Read::KindMissing,
        Ok(Err(kube::Error::Api(status))) => failed(matches!(status.code, 401 | 403), status.message.clone()),
        Ok(Err(error)) => failed(false, error.to_string()),
        Err(_) => failed(false, format!("no answer within {} s", READ_DEADLINE.as_secs())),
    }
}

/// A list of which not all objects can be kept. A part of them would be taken for all.
pub fn too_many(what: &str, most: usize) -> ReadFailure {
    let message = format!("there are more than {most} objects, which is more than the controller reads");
    ReadFailure { what: what.to_owned(), forbidden: false, message }
}

/// Reads a list by `pages`, and passes each object to `take`. Of more than `most` it fails.
pub async fn read_pages<K: Clone + Debug + DeserializeOwned>(
    what: &str,
    api: &Api<K>,
    pages: ListParams,
    most: usize,
    mut take: impl FnMut(K),
) -> Read<()> {
    pages_of(what, pages, most, async |page: ListParams| api.list(&page).await, &mut take).await
}

/// The same for any source of pages.
async fn pages_of<K: Clone>(
    what: &str,
    mut page: ListParams,
    most: usize,
    list: impl AsyncFn(ListParams) -> Result<ObjectList<K>, kube::Error>,
    mut take: impl FnMut(K),
) -> Read<()> {
    let mut count = 0;
    loop {
        let list = match read(what, list(page.clone())).await {
            Read::Known(list) => list,
            Read::KindMissing => return Read::KindMissing,
            Read::Failed(failure) => return Read::Failed(failure),
        };
        count += list.items.len();
        if count > most {
            return Read::Failed(too_many(what, most));
        }
        list.items.into_iter().for_each(&mut take);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Read::Known(()),
        }
    }
}

/// The same with another value.
pub fn map<T, U>(read: Read<T>, with: impl FnOnce(T) -> U) -> Read<U> {
    match read {
        Read::Known(value) => Read::Known(with(value)),
        Read::KindMissing => Read::KindMissing,
        Read::Failed(failure) => Read::Failed(failure),
    }
}

/// All objects of several reads, sorted, or the first failure. A kind that is not installed has none.
pub fn all_of<T: Ord>(reads: impl IntoIterator<Item = Read<Vec<T>>>) -> Read<Vec<T>> {
    let mut all = Vec::new();
    for read in reads {
        match read {
            Read::Known(some) => all.extend(some),
            Read::KindMissing => {}
            Read::Failed(failure) => return Read::Failed(failure),
        }
    }
    all.sort();
    Read::Known(all)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
    use kube::core::TypeMeta;

    use super::*;

    /// Three pages of two, by their continue tokens.
    async fn page(page: ListParams) -> Result<ObjectList<u32>, kube::Error> {
        let number: u32 = page.continue_token.map_or(0, |token| token.parse().unwrap());
        let continue_ = (number < 2).then(|| (number + 1).to_string());
        let metadata = ListMeta { continue_, ..ListMeta::default() };
        Ok(ObjectList { types: TypeMeta::default(), metadata, items: vec![2 * number, 2 * number + 1] })
    }

    #[tokio::test]
    async fn all_pages_are_read_and_too_many_objects_are_a_failure() {
        let mut all = Vec::new();
        let read = pages_of("list things", ListParams::default(), 6, page, |one| all.push(one)).await;
        assert_eq!((read, all), (Read::Known(()), (0..6).collect()));
        let read = pages_of("list things", ListParams::default(), 5, page, |_| ()).await;
        assert_eq!(read, Read::Failed(too_many("list things", 5)));
    }
}
