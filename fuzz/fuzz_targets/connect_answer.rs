//! Any bytes as a proxy's answer to CONNECT, with what the registry says behind it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::connect_answer(data));
