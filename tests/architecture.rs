//! The layering of the crates, and the rules that no compiler checks.
//!
//! Each rule is a function from a graph or from source texts to what is wrong, so that it can be shown to bite on a made-up
//! case beside being run on the real thing. Sources are read as text: comments and test code are cut first. That is no
//! parser, and a rule can be dodged by an alias (`use http::StatusCode as S`); it is there for mistakes, not for malice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates each may use. A crate that is not listed is an error, so a new one is placed before it is used.
///
/// The binary needs more than `proxy`: `config` (it loads, checks and prints configurations), `telemetry` (it starts the
/// messages), `exchange` (the clock), and `upstream` (`check --online` connects as the proxy would).
const LAYERS: &[(&str, &[&str])] = &[
    ("attache", &["config", "exchange", "proxy"]),
    ("proxy", &["config", "exchange", "middleware", "policy", "telemetry", "upstream"]),
    ("middleware", &["exchange", "policy", "telemetry"]),
    ("upstream", &["exchange", "policy", "telemetry"]),
    ("telemetry", &["exchange", "policy"]),
    ("exchange", &["policy"]),
    ("policy", &[]),
    ("config", &[]),
];
/// On top of all: its tests and benches may look into any of ours.
const TOP: &str = "attache";
/// What tests share; may use anything of ours, and nothing may use it but tests.
const TESTKIT: &str = "testkit";
/// Crates that decide without a runtime or a socket, and what they may therefore not depend on.
const PURE: &[&str] = &["policy", "config"];
const IMPURE: &[&str] = &["hyper", "hyper-util", "mio", "rustls", "socket2", "tokio"];

/// Lines of a file without its tests, at most.
const LONGEST: usize = 500;
/// Files that may be longer: tables, one line an entry.
const TABLES: &[&str] = &["config/src/keys.rs"];

/// Who names a status besides the table of errors: the file, what it names, and why that is not a choice of an answer.
const STATUSES: &[(&str, &[&str], &str)] = &[
    ("exchange/src/error.rs", &["from_u16", "INTERNAL_SERVER_ERROR"], "the one table"),
    ("exchange/src/interim.rs", &["CONTINUE", "SWITCHING_PROTOCOLS", "from_u16"], "reads the upstream's own"),
    ("proxy/src/params.rs", &["FOUND", "OK", "from_u16"], "`redirect` and `respond`: the operator chose"),
    ("proxy/src/edge/finish.rs", &["SWITCHING_PROTOCOLS"], "relays the upstream's own 101"),
    ("proxy/src/listener/conn.rs", &["line 400", "line 408"], "a connection that has no request yet, counted there"),
    ("proxy/src/listener/tls.rs", &["line 400"], "the same where TLS was expected"),
    (
        "proxy/src/admin.rs",
        &["BAD_REQUEST", "FORBIDDEN", "INTERNAL_SERVER_ERROR", "OK", "SERVICE_UNAVAILABLE", "UNPROCESSABLE_ENTITY"],
        "the admin interface is a service of its own, not a proxied exchange",
    ),
    ("proxy/src/admin/breakers.rs", &["NOT_FOUND"], "the same"),
    ("upstream/src/attempt.rs", &["PROXY_AUTHENTICATION_REQUIRED", "REQUEST_TIMEOUT", "SWITCHING_PROTOCOLS"], "reads"),
    (
        "upstream/src/connect/parent/ask.rs",
        &["PROXY_AUTHENTICATION_REQUIRED", "SWITCHING_PROTOCOLS", "from_u16"],
        "reads a parent proxy's answer",
    ),
    ("upstream/src/attempt/flight.rs", &["SWITCHING_PROTOCOLS"], "reads"),
    ("upstream/src/attempt/wire.rs", &["NO_CONTENT", "SWITCHING_PROTOCOLS"], "reads"),
    ("middleware/src/coding.rs", &["NOT_MODIFIED", "NO_CONTENT", "PARTIAL_CONTENT", "RESET_CONTENT"], "reads"),
    ("middleware/src/compress.rs", &["NOT_MODIFIED"], "reads, and keeps the upstream's own"),
    ("middleware/src/decompress.rs", &["NOT_MODIFIED"], "reads"),
    ("middleware/src/fallback/stale.rs", &["NOT_MODIFIED", "PARTIAL_CONTENT"], "reads"),
    ("middleware/src/respond.rs", &["NOT_MODIFIED", "NO_CONTENT", "RESET_CONTENT"], "reads"),
    ("middleware/src/concurrency.rs", &["SERVICE_UNAVAILABLE", "TOO_MANY_REQUESTS"], "reads"),
    ("middleware/src/retry_after.rs", &["SERVICE_UNAVAILABLE", "TOO_MANY_REQUESTS"], "reads"),
    ("middleware/src/retry.rs", &["UNAUTHORIZED"], "reads"),
    ("middleware/src/retry/rules.rs", &["TOO_MANY_REQUESTS"], "reads"),
    ("attache/cli/demo/service.rs", &["OK", "SERVICE_UNAVAILABLE"], "the demo's upstream, not the proxy"),
];

// --- the graph ------------------------------------------------------------------------------------------------------

/// One crate: what it needs to be built, and what its tests need in addition. Ours go without the `attache-` prefix.
#[derive(Default)]
struct Needs {
    build: BTreeSet<String>,
    tests: BTreeSet<String>,
}

type Graph = BTreeMap<String, Needs>;

fn layering(graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    let ours = |name: &str| graph.contains_key(name);
    for (name, needs) in graph {
        let allowed = LAYERS.iter().find(|(layer, _)| layer == name).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed.or((name == TESTKIT).then_some(&[])) else {
            wrong.push(format!("{name} has no place in LAYERS"));
            continue;
        };
        let fits = |other: &str| allowed.contains(&other) || (name == TESTKIT && other != TESTKIT);
        wrong.extend(
            needs.build.iter().filter(|other| ours(other) && !fits(other)).map(|other| format!("{name} -> {other}")),
        );
        wrong.extend(
            needs
                .tests
                .iter()
                .filter(|other| ours(other) && !fits(other) && *other != TESTKIT && name != TOP)
                .map(|other| format!("{name} -> {other} (tests)")),
        );
        if PURE.contains(&name.as_str()) {
            wrong.extend(
                needs.build.iter().filter(|other| IMPURE.contains(&other.as_str())).map(|o| format!("{name} -> {o}")),
            );
        }
    }
    wrong.extend(
        LAYERS.iter().filter(|(name, _)| !ours(name)).map(|(name, _)| format!("{name} is in LAYERS and nowhere else")),
    );
    wrong
}

fn workspace() -> Graph {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let mut graph = Graph::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let needs = graph.entry(short(&package["name"])).or_default();
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let tests = dependency["kind"] == "dev";
            if tests { &mut needs.tests } else { &mut needs.build }.insert(short(&dependency["name"]));
        }
    }
    graph
}

fn short(name: &serde_json::Value) -> String {
    let name = name.as_str().expect("a name");
    name.strip_prefix("attache-").unwrap_or(name).to_owned()
}

#[test]
fn crates_depend_downwards_only() {
    assert_eq!(layering(&workspace()), Vec::<String>::new());
}

#[test]
fn the_layering_rule_bites() {
    let graph = |edges: &[(&str, &str, bool)]| {
        let mut graph: Graph = LAYERS.iter().map(|(name, _)| ((*name).to_owned(), Needs::default())).collect();
        graph.insert(TESTKIT.to_owned(), Needs::default());
        for (from, to, tests) in edges {
            let needs = graph.entry((*from).to_owned()).or_default();
            if *tests { &mut needs.tests } else { &mut needs.build }.insert((*to).to_owned());
        }
        layering(&graph)
    };

    assert_eq!(graph(&[("proxy", "config", false), ("policy", "testkit", true)]), Vec::<String>::new());
    assert_eq!(graph(&[("attache", "policy", true)]), Vec::<String>::new());
    assert_eq!(graph(&[("attache", "policy", false)]), ["attache -> policy"]);
    assert_eq!(graph(&[("upstream", "middleware", false)]), ["upstream -> middleware"]);
    assert_eq!(graph(&[("telemetry", "config", false)]), ["telemetry -> config"]);
    assert_eq!(graph(&[("policy", "exchange", true)]), ["policy -> exchange (tests)"]);
    assert_eq!(graph(&[("proxy", "testkit", false)]), ["proxy -> testkit"]);
    assert_eq!(graph(&[("policy", "tokio", false)]), ["policy -> tokio"]);
    assert_eq!(graph(&[("util", "policy", false)]), ["util has no place in LAYERS"]);
    assert_eq!(layering(&Graph::new()).len(), LAYERS.len());
}

// --- the sources ----------------------------------------------------------------------------------------------------

/// A source file: its path below `crates/`, and its code without comments and tests.
struct Source {
    path: String,
    code: String,
    lines: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let tested = without_tests(text);
        let code = tested.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        Self { path: path.to_owned(), code, lines: tested.lines().count() }
    }
}

/// Cuts `#[cfg(test)] mod name { .. }`, which rustfmt ends with a brace in the first column.
fn without_tests(text: &str) -> String {
    let mut rest = text.lines().peekable();
    let mut kept = String::new();
    while let Some(line) = rest.next() {
        let opens = rest.peek().is_some_and(|next| next.contains("mod ") && next.ends_with('{'));
        if line == "#[cfg(test)]" && opens {
            rest.by_ref().find(|line| *line == "}");
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// The modules that `text` declares for tests only, each in a file of its own.
fn test_modules(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[0].starts_with("#[cfg(") && pair[0].contains("test"))
        .filter_map(|pair| pair[1].split_once("mod ")?.1.strip_suffix(';'))
        .collect()
}

/// Every `.rs` file below `crates/`, tests and the test kit left out.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let texts: Vec<(PathBuf, String)> =
        files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(&path).expect("readable"))).collect();
    let for_tests: Vec<PathBuf> = texts
        .iter()
        .flat_map(|(path, text)| test_modules(text).into_iter().map(|module| home(path).join(module)))
        .collect();
    let is_test = |path: &Path| {
        let module = path.with_extension("");
        let below = path.strip_prefix(&root).expect("below crates/");
        for_tests.iter().any(|test| module.starts_with(test))
            || below.starts_with(TESTKIT)
            || below.iter().nth(1).is_some_and(|part| part == "tests")
    };
    let kept = texts.iter().filter(|(path, _)| !is_test(path));
    let below = |path: &Path| path.strip_prefix(&root).expect("below crates/").display().to_string();
    let sources: Vec<Source> = kept.map(|(path, text)| Source::new(&below(path), text)).collect();
    assert!(sources.len() > 100, "only {} sources were found", sources.len());
    sources
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Where the modules of a file live: beside a crate's root, below any other file.
fn home(file: &Path) -> PathBuf {
    match file.file_name().and_then(|name| name.to_str()) {
        Some("lib.rs" | "main.rs") => file.with_file_name(""),
        _ => file.with_extension(""),
    }
}

/// The first names that follow `prefix` in paths, through one level of braces: `crate::{a::X, b}` has `a` and `b`.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let after = &code[at + prefix.len()..];
        let list = after.strip_prefix('{').map(|list| &list[..closing(list)]);
        let items = list.map_or_else(|| vec![after], split);
        names.extend(items.into_iter().map(first_word).filter(|name| !name.is_empty()));
    }
    names
}

/// Where the brace that was opened before `list` closes.
fn closing(list: &str) -> usize {
    let mut depth = 1;
    let close = list.char_indices().find(|(_, c)| {
        depth += i32::from(*c == '{') - i32::from(*c == '}');
        depth == 0
    });
    close.map_or(list.len(), |(at, _)| at)
}

/// At the commas that are in no inner braces.
fn split(list: &str) -> Vec<&str> {
    let mut depth = 0;
    list.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    })
    .collect()
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn test_code_is_cut_and_the_rest_is_kept() {
    let text = "// about\nuse a::B;\n\n#[cfg(test)]\nmod tests {\n    use c::D;\n}\nfn e() {}\n";

    let source = Source::new("x/src/y.rs", text);

    assert_eq!(source.code, "use a::B;\n\nfn e() {}");
    assert_eq!(source.lines, 4);
    assert_eq!(test_modules("#[cfg(test)]\nmod tests;\nmod other;\n"), ["tests"]);
    assert_eq!(home(Path::new("a/src/lib.rs")).join("tests"), Path::new("a/src/tests"));
    assert_eq!(home(Path::new("a/src/b.rs")).join("tests"), Path::new("a/src/b/tests"));
}

#[test]
fn names_are_found_through_braces() {
    let names = |code| names_after(code, "crate::").into_iter().collect::<Vec<_>>();

    assert_eq!(names("use crate::retry::Params;"), ["retry"]);
    assert_eq!(names("use crate::{browser::{X, y}, target};\ncrate::observe::z()"), ["browser", "observe", "target"]);
    assert!(names("use exchange::Error;").is_empty());
}

fn mod_files<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    paths.filter(|path| *path == "mod.rs" || path.ends_with("/mod.rs")).collect()
}

#[test]
fn a_module_with_children_is_named_for_itself() {
    assert_eq!(mod_files(sources().iter().map(|source| source.path.as_str())), Vec::<&str>::new());
    assert_eq!(mod_files(["a/src/b.rs", "a/src/b/mod.rs"].into_iter()), ["a/src/b/mod.rs"]);
}

fn too_long(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.lines > LONGEST && !TABLES.contains(&source.path.as_str()));
    long.map(|source| format!("{}: {} lines without tests", source.path, source.lines)).collect()
}

#[test]
fn a_file_is_read_in_one_sitting() {
    assert_eq!(too_long(&sources()), Vec::<String>::new());
}

#[test]
fn the_length_rule_bites_at_its_limit_and_does_not_count_tests() {
    let file = |lines: usize| Source::new("a/src/b.rs", &"x\n".repeat(lines));
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(LONGEST), "    y\n".repeat(50));

    assert_eq!(too_long(&[file(LONGEST)]), Vec::<String>::new());
    assert_eq!(too_long(&[file(LONGEST + 1)]).len(), 1);
    assert_eq!(too_long(&[Source::new("a/src/b.rs", &tested)]), Vec::<String>::new());
}

/// What a file says about statuses: constants and constructors of `StatusCode`, and status lines in text.
fn statuses(source: &Source) -> BTreeSet<String> {
    let constant = |name: &String| name == "from_u16" || name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let mut found: BTreeSet<String> = names_after(&source.code, "StatusCode::").into_iter().filter(constant).collect();
    for version in ["HTTP/1.1 ", "HTTP/1.0 "] {
        let lines = source.code.match_indices(version).map(|(at, _)| first_word(&source.code[at + version.len()..]));
        found.extend(lines.filter(|n| n.len() == 3 && n.parse::<u16>().is_ok()).map(|number| format!("line {number}")));
    }
    found
}

fn chosen_statuses(sources: &[Source], allowed: &[(&str, &[&str], &str)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        let may = allowed.iter().find(|(path, ..)| *path == source.path).map_or(&[][..], |(_, may, _)| *may);
        let found = statuses(source);
        let path = &source.path;
        wrong.extend(found.iter().filter(|n| !may.contains(&n.as_str())).map(|n| format!("{path} names {n}")));
        wrong.extend(may.iter().filter(|n| !found.contains(**n)).map(|n| format!("{path} no longer names {n}")));
    }
    let gone = allowed.iter().filter(|(path, ..)| !sources.iter().any(|source| source.path == *path));
    wrong.extend(gone.map(|(path, ..)| format!("{path} is gone")));
    wrong
}

#[test]
fn statuses_are_chosen_in_one_place() {
    assert_eq!(chosen_statuses(&sources(), STATUSES), Vec::<String>::new());
}

#[test]
fn the_status_rule_bites() {
    let wrong = |code| chosen_statuses(&[Source::new("a/src/b.rs", code)], &[("a/src/b.rs", &["OK"], "a test")]);

    assert_eq!(wrong("*r.status_mut() = StatusCode::OK;"), Vec::<String>::new());
    assert_eq!(wrong("(StatusCode::OK, StatusCode::BAD_GATEWAY)"), ["a/src/b.rs names BAD_GATEWAY"]);
    assert_eq!(wrong("StatusCode::OK; StatusCode::from_u16(502)"), ["a/src/b.rs names from_u16"]);
    assert_eq!(wrong("StatusCode::OK; b\"HTTP/1.1 502 Bad\""), ["a/src/b.rs names line 502"]);
    assert_eq!(wrong("fn status(s: StatusCode) {}"), ["a/src/b.rs no longer names OK"]);
    assert_eq!(chosen_statuses(&[], &[("a/src/c.rs", &[], "a test")]), ["a/src/c.rs is gone"]);
}

/// The middleware: what the root of that crate makes public.
fn layers(sources: &[Source]) -> Vec<String> {
    let root = sources.iter().find(|source| source.path == "middleware/src/lib.rs");
    let modules = root.iter().flat_map(|root| root.code.lines());
    modules.filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned())).collect()
}

fn acquaintances(sources: &[Source]) -> Vec<String> {
    let layers = layers(sources);
    let mut wrong = Vec::new();
    for source in sources {
        let Some(below) = source.path.strip_prefix("middleware/src/") else { continue };
        let own = below.split(['/', '.']).next().unwrap_or_default();
        let mut named = names_after(&source.code, "crate::");
        named.extend(names_after(&source.code, "super::"));
        let others = layers.iter().filter(|layer| named.contains(*layer) && *layer != own);
        wrong.extend(others.map(|layer| format!("{} names {layer}", source.path)));
    }
    wrong
}

#[test]
fn no_middleware_names_another() {
    let sources = sources();

    assert!(layers(&sources).len() >= 8, "{:?}", layers(&sources));
    assert_eq!(acquaintances(&sources), Vec::<String>::new());
}

#[test]
fn the_acquaintance_rule_bites() {
    let crate_of = |code: &str| {
        let root = Source::new("middleware/src/lib.rs", "pub mod a;\npub mod b;\nmod shared;");
        acquaintances(&[root, Source::new("middleware/src/a.rs", code)])
    };

    assert_eq!(crate_of("use crate::shared;\nuse crate::a::Own;"), Vec::<String>::new());
    assert_eq!(crate_of("use crate::b::Params;"), ["middleware/src/a.rs names b"]);
    assert_eq!(crate_of("use super::{shared, b};"), ["middleware/src/a.rs names b"]);
}

fn real_clocks(sources: &[Source]) -> Vec<&str> {
    let reads = |source: &&Source| names_after(&source.code, "std::time::").contains("Instant");
    sources.iter().filter(reads).map(|source| source.path.as_str()).collect()
}

#[test]
fn time_is_read_from_the_clock_that_tests_control() {
    assert_eq!(real_clocks(&sources()), Vec::<&str>::new());
}

#[test]
fn the_clock_rule_bites() {
    let wrong = |code| real_clocks(&[Source::new("a/src/b.rs", code)]).len();

    assert_eq!(wrong("use std::time::Duration;\nuse tokio::time::Instant;"), 0);
    assert_eq!(wrong("use std::time::{Duration, Instant};"), 1);
    assert_eq!(wrong("let now = std::time::Instant::now();"), 1);
    assert_eq!(wrong("use std::time::{self, Instant as Real};"), 1);
}
