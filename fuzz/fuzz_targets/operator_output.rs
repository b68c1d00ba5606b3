//! Any bytes as the log of an operator that was asked for its version and its images.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::operator_output(data));
