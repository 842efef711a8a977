//! Lists of tasks, and arguments in one line.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| labctl_provision::fuzzing::tasks(text));
