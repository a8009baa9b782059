//! The PROXY protocol's header, for any bytes: `make fuzz`.
#![no_main]

#[path = "../../tests/proxy/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| laws::uphold(bytes));
