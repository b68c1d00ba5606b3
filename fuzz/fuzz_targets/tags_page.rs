//! Any bytes as a page of tags; the first line is the `Link` header.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::tags_page(data));
