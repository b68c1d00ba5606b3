//! Any bytes as a reference, and in three more lines an Installation's registry, imagePath and imagePrefix.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::reference(data));
