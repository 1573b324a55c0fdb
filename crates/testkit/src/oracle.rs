//! What must hold whatever comes in: one function a fuzz target, from any bytes to nothing or a panic.
//!
//! `tests/fuzz` drives them with a fuzzer, `tests/corpus.rs` with the committed corpora on any compiler, so that both
//! ask the same question. Each compares with something that can disagree: a second way to the same answer, the
//! original, or the same again; not to panic is the least of it.

pub mod config;
pub mod hygiene;
pub mod normal;
pub mod replay;
pub mod sniff;

/// An oracle: panics if what must hold does not.
pub type Oracle = fn(&[u8]);

/// Each fuzz target, by the name of its corpus.
pub const ALL: &[(&str, Oracle)] = &[
    ("config", config::check),
    ("hygiene", hygiene::check),
    ("normal", normal::check),
    ("replay", replay::check),
    ("sniff", sniff::check),
];
