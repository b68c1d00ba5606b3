//! The variables by which clouds tell a process who it is, and the files that they name. Values are never shown: some are secrets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use zeroize::Zeroizing;

use crate::registry::auth::credentials::Secret;

/// Maximum size of a file with a token or a key, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Variables that are read. Those of AWS and Azure are injected into pods by webhooks; all are those of the clouds' own SDKs.
const NAMES: [&str; 28] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GCE_METADATA_HOST",
    "CLOUDSDK_CONFIG",
    "HOME",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
];

/// See the module. `Debug` shows no value.
#[derive(Debug, Clone, Default)]
pub struct CloudEnvironment {
    variables: BTreeMap<&'static str, Secret>,
}

impl CloudEnvironment {
    /// Returns the variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of_variables(|name| std::env::var_os(name))
    }

    /// Returns these variables. Empty values, and values that are not UTF-8, count as not set.
    #[must_use]
    pub fn of_variables(value: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &'static str| {
            let value = value(name)?.into_string().ok().filter(|value| !value.is_empty())?;
            Some((name, Secret::new(value)))
        };
        Self { variables: NAMES.into_iter().filter_map(set).collect() }
    }

    /// Returns the value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        debug_assert!(NAMES.contains(&name), "{name} is not read");
        self.variables.get(name).map(Secret::expose)
    }
}

/// Reads a file with a token or a key. Kubelets replace projected tokens long before they expire: it is read each time.
///
/// # Errors
/// The file cannot be read, is longer than [`MAX_FILE`], or is not UTF-8. The message does not quote it.
pub(crate) async fn read_secret_file(path: &str) -> Result<Secret, String> {
    let size = tokio::fs::metadata(Path::new(path)).await.map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    let bytes = tokio::fs::read(Path::new(path)).await.map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map(Zeroizing::new).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        "it is not UTF-8".to_owned()
    })?;
    let token = text.trim();
    if token.is_empty() { Err("it is empty".to_owned()) } else { Ok(Secret::new(token.to_owned())) }
}
