//! Any text as what a TigeraStatus says: the reason on the first line, the message after it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::operator_words(data));
