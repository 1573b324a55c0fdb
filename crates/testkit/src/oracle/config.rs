//! Any text ends in a model or in findings that say where, twice the same.
//!
//! The first byte of an input chooses the format; the rest is the text.

use config::{Diagnostic, Format, Severity, diag};

/// See the module.
pub fn check(input: &[u8]) {
    let Some((first, text)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let format = if first % 2 == 0 { Format::Yaml } else { Format::Toml };
    let read = || config::parse(text, "f", format);
    match (read(), read()) {
        (Ok(one), Ok(two)) => {
            assert_eq!(one.model, two.model, "read twice, two models");
            assert_eq!(one.warnings, two.warnings);
            assert!(one.warnings.iter().all(|found| found.severity == Severity::Warning), "an error was let through");
            one.warnings.iter().for_each(|found| placed(found, text));
            assert_eq!(one.origins.yaml(), two.origins.yaml());
            assert!(one.origins.json().is_object());
        }
        (Err(one), Err(two)) => {
            assert_eq!(one, two, "read twice, two findings");
            assert!(one.iter().any(|found| found.severity == Severity::Error), "refused without an error");
            assert!(one.len() <= diag::MOST);
            one.iter().for_each(|found| placed(found, text));
        }
        (one, two) => panic!("read twice: {} and {}", one.is_ok(), two.is_ok()),
    }
}

/// A finding points into the text, and what it shows stands there.
fn placed(found: &Diagnostic, text: &str) {
    assert!(diag::IDS.contains(&found.id), "{} is not in the list", found.id);
    assert!(!found.message.is_empty());
    assert_eq!(found.line == 0, found.column == 0, "{found}");
    // As YAML counts them.
    let text = &text.replace("\r\n", "\n").replace('\r', "\n");
    let lines = text.split('\n').count();
    let line = usize::try_from(found.line).expect("small");
    assert!(line <= lines + 1, "line {line} of {lines}: {found}");
    if line > 0 && found.file == "f" {
        let written = text.split('\n').nth(line - 1).unwrap_or_default();
        let column = usize::try_from(found.column).expect("small");
        assert!(column <= written.chars().count() + 2, "column {column} of {written:?}: {found}");
    }
    if let Some(snippet) = &found.snippet {
        // What is shown has no blanks at its end; the caret may stand where they were.
        let line = text.split('\n').nth(line.saturating_sub(1)).unwrap_or_default();
        let width = snippet.text.chars().count().max(line.chars().count());
        assert!(snippet.length >= 1 && snippet.start + snippet.length <= width + 2, "the caret is beside it: {found}");
    }
    assert!(found.to_string().contains(found.id));
}
