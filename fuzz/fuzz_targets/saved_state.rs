//! A state file that Sōzu wrote.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sozu_socket::fuzzing::saved_state(bytes));
