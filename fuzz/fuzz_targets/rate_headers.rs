//! Any bytes as `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset` and `Retry-After`, one a line.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::rate_headers(data));
