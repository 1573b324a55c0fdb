//! The corpora of the fuzz targets, on any compiler: what a fuzzer or a conformance case found once stays found.
//!
//! `tests/fuzz` has the targets and says how to run them; the oracles are the test kit's, the same for both.

#![allow(clippy::panic, reason = "a failed expectation fails the test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use testkit::oracle;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// Every file of a directory, in a stable order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// What did not hold, by file.
fn findings(files: &[PathBuf], oracle: oracle::Oracle) -> Vec<PathBuf> {
    let holds = |file: &PathBuf| {
        let input = std::fs::read(file).expect("readable");
        catch_unwind(AssertUnwindSafe(|| oracle(&input))).is_ok()
    };
    files.iter().filter(|file| !holds(file)).cloned().collect()
}

fn replay(name: &str) {
    let (_, oracle) = oracle::ALL.iter().find(|(known, _)| *known == name).expect("an oracle");
    let files = files(&folder().join("corpus").join(name));

    assert!(files.len() >= 10, "only {} files for {name}", files.len());
    assert_eq!(findings(&files, *oracle), Vec::<PathBuf>::new());
}

#[test]
fn config_text_ends_in_a_model_or_in_findings() {
    replay("config");
}

#[test]
fn no_field_of_one_connection_passes() {
    replay("hygiene");
}

#[test]
fn what_is_forwarded_is_one_normal_request() {
    replay("normal");
}

#[test]
fn every_cursor_reads_what_was_sent() {
    replay("replay");
}

#[test]
fn first_bytes_say_the_same_however_they_arrive() {
    replay("sniff");
}

#[test]
fn every_oracle_has_a_target_and_a_corpus_and_nothing_else_does() {
    let names = |directory: &str| -> Vec<String> {
        let stem = |file: &PathBuf| file.file_stem().expect("a name").to_string_lossy().into_owned();
        files(&folder().join(directory)).iter().map(stem).collect()
    };
    let oracles: Vec<_> = oracle::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();

    assert_eq!(names("fuzz_targets"), oracles);
    assert_eq!(names("corpus"), oracles);
}
