//! Registry credentials that a cloud issues to an identity of this process, for registries with a provider in their settings.
//!
//! [`identities`] is the façade. It keeps what was issued ([`token_cache`]) until shortly before it expires. [`aws`], [`gcp`] and
//! [`azure`] have one flow each: find an identity in the [`environment`], prove it to the cloud's services ([`service`]), and receive
//! a credential for the registry ([`issued`]).
//!
//! Only these flows reach the metadata services of clouds, and only hosts of the cloud receive its tokens. No message contains text
//! of a service: statuses, known error codes and the name of the identity.

pub(crate) mod aws;
pub(crate) mod aws_credentials;
pub(crate) mod aws_signature;
pub(crate) mod azure;
pub(crate) mod clock;
pub(crate) mod environment;
pub(crate) mod gcp;
pub(crate) mod gcp_credentials;
pub(crate) mod identities;
pub(crate) mod issued;
pub(crate) mod oauth;
pub(crate) mod service;
pub(crate) mod token_cache;
