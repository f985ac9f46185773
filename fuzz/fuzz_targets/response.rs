//! One answer of Sōzu.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sozu_socket::fuzzing::response(bytes));
