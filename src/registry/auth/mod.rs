//! How the controller proves to a registry who it is.
//!
//! A registry responds with 401 and an authentication scheme ([`scheme`]). [`authenticate`] tries what worked before ([`cache`]),
//! then each credential that matches the repository, and fetches a token ([`token`]) from the token service ([`realm`] has the
//! rules on who may receive credentials). [`tried_credentials`] remembers which ones a session rejected.
//!
//! Where credentials come from: [`docker_config`] reads pull secrets, [`keyring`] matches them with repositories, and both yield
//! a [`credentials::Credential`]; [`cloud`] has those that a cloud issues to an identity of this process, such as ECR's. The
//! client puts them before a session begins into the endpoint's settings. `Access::credentials` in `../access.rs` decides the order
//! in which credentials of all sources are tried.

pub(crate) mod authenticate;
pub(crate) mod cache;
pub(crate) mod cloud;
pub(crate) mod credentials;
pub(crate) mod docker_config;
mod docker_config_json;
pub(crate) mod keyring;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
pub(crate) mod realm;
pub(crate) mod scheme;
pub(crate) mod token;
pub(crate) mod tried_credentials;
