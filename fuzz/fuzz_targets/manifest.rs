//! Any bytes as a manifest and as an image configuration; the first line is the `Content-Type`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::manifest(data));
