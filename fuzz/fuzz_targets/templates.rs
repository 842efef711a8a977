//! Templates: values, conditions and files.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| labctl_provision::fuzzing::template(text));
