//! Any bytes as a file with the operator's Deployment, ImageSets or an Installation.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::operator_manifest(data));
