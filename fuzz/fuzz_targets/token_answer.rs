//! Any bytes as the answer of a token service.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::token_answer(data));
