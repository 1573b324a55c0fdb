//! Whatever a file holds, reading it ends, in bounded memory, with a model or with diagnostics.

#![allow(clippy::unwrap_used, clippy::panic)]

use config::Format;
use proptest::prelude::*;

/// Pieces that get past the parsers more often than noise does.
fn pieces() -> impl Strategy<Value = String> {
    let words = [
        "routes",
        "match",
        "to",
        "auth",
        "bearer",
        "file",
        "retry",
        "timeout",
        "listen",
        "log",
        "a.com",
        "https://a",
        ": ",
        "\n",
        "\n  ",
        "\n  - ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "&a ",
        "*a",
        "!!str ",
        "|\n",
        "~",
        "#",
        "1",
        "5xx",
        "20%",
        "2s",
        "=",
        "false",
        "null",
        "---\n",
        "\t",
        "\u{feff}",
        "é",
        "\u{7}",
        "<<",
        "? ",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..40).prop_map(|v| v.concat())
}

fn survives(text: &str) {
    for format in [Format::Yaml, Format::Toml] {
        let found = match config::parse(text, "x", format) {
            Ok(loaded) => {
                assert!(!loaded.origins.yaml().is_empty());
                loaded.warnings
            }
            Err(found) => {
                assert!(!found.is_empty(), "refused without a reason");
                found
            }
        };
        for diagnostic in found {
            assert!(!diagnostic.to_string().is_empty());
        }
    }
}

proptest! {
    #[test]
    fn any_text_ends_in_a_model_or_in_diagnostics(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_mix_of_our_words_does_too(text in pieces()) {
        survives(&text);
    }
}

#[test]
fn deep_nesting_is_refused_before_it_is_built() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
        for depth in [31, 32, 33, 1_000, 20_000] {
            survives(&format!("routes: {}x{}", open.repeat(depth), close.repeat(depth)));
            survives(&format!("{}x{}", open.repeat(depth), close.repeat(depth)));
        }
    }
    survives(&format!("routes = {}1{}", "[".repeat(20_000), "]".repeat(20_000)));
    survives(&"[a.b]\n".repeat(1_000));
    survives(&format!("{} = 1", vec!["a"; 20_000].join(".")));
}

#[test]
fn alias_bombs_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let alias = format!("*a{}, ", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}x]\n", alias.repeat(10)));
    }

    let found = config::parse(&text, "x", Format::Yaml).unwrap_err();

    assert_eq!(found.iter().map(|d| d.id).collect::<Vec<_>>(), ["too-deep"]);
}

#[test]
fn anchors_serve_what_they_are_for() {
    let text = "routes:\n  - {match: a.com, retry: &r {attempts: 5, backoff: 1s}}\n  - {match: b.com, retry: *r}\n";

    let model = config::parse(text, "x", Format::Yaml).unwrap().model;

    assert_eq!(model.routes[0].policy.retry, model.routes[1].policy.retry);
    assert_eq!(model.routes[1].policy.retry.as_ref().unwrap().attempts, 5);
}

#[test]
fn a_file_of_the_largest_size_costs_no_more_than_its_size() {
    let fill = |piece: &str| piece.repeat((1 << 20) / piece.len());

    survives(&fill("a:\n"));
    survives(&fill("drain: 1\n"));
    survives(&format!("routes:\n{}", fill("- {match: a}\n")));
    survives(&format!("routes:\n{}", fill("- {matc: a}\n")));
    survives(&format!("{}: 1", fill("a")));
    survives(&format!("drain: {}", fill("a")));
    survives(&format!("[{}", fill("{},")));
    survives(&fill("&a "));
    survives(&format!("\"{}", fill("\\x41")));
}

#[test]
fn more_mistakes_than_anyone_reads_are_cut_to_the_first_errors() {
    let text = format!("browser: 1\nroutes:\n{}", "- {match: a, tiemout: 1}\n".repeat(300));

    let found = config::parse(&text, "x", Format::Yaml).unwrap_err();

    assert_eq!(found.len(), config::diag::MOST);
    assert!(found.iter().all(|d| d.severity == config::Severity::Error));
    assert_eq!(found[0].line, 1);
}
