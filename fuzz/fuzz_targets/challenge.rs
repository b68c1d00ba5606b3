//! Any bytes as the `WWW-Authenticate` headers of a registry, one a line.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::challenge(data));
