//! Bytes from Sōzu's command socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sozu_socket::fuzzing::frames(bytes));
