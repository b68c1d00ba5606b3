//! The rules of the product: pure values and decisions. Nothing here does I/O, reads a clock, draws a random number
//! or knows how a cluster or a registry is reached.

pub mod catalogue;
pub mod digest;
pub mod image_name;
pub mod layout;
pub mod operator_images;
pub mod platform;
pub mod reference;
pub mod release;
pub mod required;
pub mod resolution;

pub use catalogue::Catalogue;
pub use digest::Digest;
pub use image_name::ImageName;
pub use layout::RegistryLayout;
pub use operator_images::{OperatorImages, PreReleaseMarker, PrintedImages};
pub use platform::Platform;
pub use reference::Reference;
pub use release::{ImageSetName, ProductVersion, Release, Variant};
pub use required::Feature;
pub use resolution::{Content, RegistryFailure, RegistryFailureKind, ResolvedImage};
