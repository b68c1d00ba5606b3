//! One read from the API server, as a value: a failure takes away nothing but what needs it.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use crate::model::{Read, ReadFailure, foreign_text::escaped};

/// The longest that one read may take.
pub const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Most objects of one list that are kept; the operator's kinds, the records and the workloads of a namespace are far fewer.
pub const MOST_OBJECTS: usize = 500;

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
    let (mut page, mut count) = (pages, 0);
    loop {
        let list = match read(what, api.list(&page)).await {
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
