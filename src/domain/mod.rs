//! The rules of the product: pure values and decisions. Nothing here does I/O, reads a clock, draws a random number
//! or knows how a cluster or a registry is reached.

mod adoption;
pub mod answer;
mod assemble;
mod builds;
pub mod catalogue;
mod conditions;
pub mod decide;
pub mod decision;
pub mod digest;
pub mod discovery;
mod drift;
pub mod finding;
pub mod image_name;
pub mod imageset;
pub mod inspection;
pub mod layout;
mod operator;
pub mod operator_images;
pub mod platform;
pub mod record;
pub mod reference;
mod refusal;
pub mod release;
pub mod report;
pub mod required;
pub mod resolution;
pub mod retention;
pub mod settings;
pub mod snapshot;

pub use catalogue::Catalogue;
pub use decide::decide;
pub use decision::{Action, Decision};
pub use digest::Digest;
pub use finding::{ConditionType, Finding, Reason, Severity};
pub use image_name::ImageName;
pub use layout::RegistryLayout;
pub use operator_images::{OperatorImages, PreReleaseMarker, PrintedImages};
pub use platform::Platform;
pub use reference::Reference;
pub use release::{ImageSetName, ProductVersion, Release, Variant};
pub use report::Report;
pub use required::Feature;
pub use resolution::{Child, Content, Coverage, Presence, RegistryFailure, RegistryFailureKind, ResolvedImage};
pub use settings::Settings;
pub use snapshot::Snapshot;
