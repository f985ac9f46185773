//! A certificate and its key, as files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| actors::fs_watcher::pki::fuzzing::pair(bytes));
