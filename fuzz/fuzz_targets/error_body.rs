//! Any bytes as a refusal: status, content type and secrets on the first three lines, then the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::error_body(data));
