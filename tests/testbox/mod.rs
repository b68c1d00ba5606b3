//! The box: real parts for tests, demo and benches — a Kubernetes control plane, image registries and made-up images.
//!
//! Used as a module, not as a crate: `#[path = "../testbox/mod.rs"] mod testbox;`. It depends on no test harness and
//! on nothing of the product, so that it can't agree with a mistake of the product's.
//!
//! Every process started here ends with the value that started it (killed on drop), and also when this process is
//! killed: each child reads a pipe from us and exits at its end. (The etcd and kube-apiserver of `KUBEBUILDER_ASSETS`
//! don't; they survive a SIGKILL of the test.) Logs stay under `target/testbox/logs`, data is removed.
#![allow(dead_code, missing_docs, unused_imports)]

pub mod api_proxy;
pub mod apply;
pub mod certificates;
pub mod checkout;
pub mod control_plane;
pub mod controller;
pub mod crds;
pub mod ecr;
pub mod images;
pub mod internet;
pub mod kubelet;
pub mod mirror;
pub mod operator_double;
pub mod operator_images;
pub mod patience;
pub mod peers;
pub mod process;
pub mod prometheus;
pub mod recorder;
pub mod registry;
pub mod registry_client;
pub mod rights;
pub mod rules;
pub mod scenery;
pub mod server;
pub mod slow_machine;
pub mod token_service;
pub mod upstream;
pub mod walkthrough;

pub use api_proxy::ApiProxy;
pub use apply::apply_yaml;
pub use control_plane::ControlPlane;
pub use controller::Controller;
pub use images::Image;
pub use internet::Internet;
pub use kubelet::Kubelet;
pub use mirror::Mirror;
pub use prometheus::Prometheus;
pub use registry::{Kind, Registry};
pub use registry_client::Access;
pub use walkthrough::Walkthrough;
