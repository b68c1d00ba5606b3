//! Any text as what a kubelet says of a container: the reason, the image, the owner's kind and name, then the message.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imageset_controller::properties::kubelet_words(data));
