//! HTTP with registries, token services and proxies.
//!
//! [`transport`] sends a request, follows redirects by the rules of [`redirect`] and reads the body within the [`budget`].
//! [`clients`] keeps connections and TLS settings per registry; [`tunnel`] connects through the [`proxy`] that the environment
//! names, and [`resolver`] rejects addresses that [`address`] classifies as out of reach. [`connect_error`] explains failures;
//! [`disclosures`] and [`redaction`] keep credentials out of messages; [`rate_limit`] leaves half of a limit to the nodes.

pub(crate) mod address;
pub(crate) mod budget;
pub(crate) mod client_certificate;
pub(crate) mod clients;
pub(crate) mod connect_error;
pub(crate) mod disclosures;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
pub(crate) mod proxy;
pub(crate) mod rate_limit;
pub(crate) mod redaction;
pub(crate) mod redirect;
pub(crate) mod request;
pub(crate) mod resolver;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod tunnel;
