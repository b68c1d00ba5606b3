//! What verbs read: files, the cluster, registries, and the credentials of this machine.

pub(super) mod cluster_view;
mod credential_helpers;
pub(super) mod files;
pub(super) mod image_names;
mod inspection;
pub(super) mod manifest_context;
pub(super) mod operator_files;
pub(super) mod operator_images;
pub(super) mod policy;
pub(super) mod registries;
mod registry_credentials;
pub(super) mod snapshot_file;
