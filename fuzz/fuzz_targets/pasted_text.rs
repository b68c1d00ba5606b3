//! Any text as what people paste: messages, tables, descriptions, logs and objects.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::pasted_text(data));
