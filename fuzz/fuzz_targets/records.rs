//! Any text as a record in its ConfigMap: the label on the first line, then the record.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::records(data));
