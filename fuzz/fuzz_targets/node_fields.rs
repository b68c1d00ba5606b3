//! Any text as what a node reports: operating system, architecture, kernel version and name, then the other fields.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::node_fields(data));
