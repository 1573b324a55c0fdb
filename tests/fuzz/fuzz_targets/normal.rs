#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| testkit::oracle::normal::check(input));
