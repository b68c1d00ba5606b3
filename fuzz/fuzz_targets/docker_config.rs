//! Any bytes as a pull secret; the first line is the host and repository that credentials are looked for.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::docker_config(data));
