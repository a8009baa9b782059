//! Fuzzes the parser of the PROXY protocol's header: `make fuzz`.
#![no_main]

#[path = "../../tests/proxy/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| laws::assert_laws(bytes));
