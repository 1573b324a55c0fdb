//! What a command is made with, and what that runtime makes of the environment.
//!
//! Recognised by the name of its file, else by the interpreter that its first line names, else by what a Go program and
//! Node.js say of themselves in their binary. It is not run: what it starts in turn is not known.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Finding, Inherited, Level};
use crate::cli::variables;

/// Of a binary, at most.
const MOST: u64 = 256 << 20;
const PART: usize = 1 << 20;
/// How a Go program's own description begins.
const GO: &[u8] = b"\xff Go buildinf:";
/// How Node.js names the archive that it came from.
const NODE: &[u8] = b"node-v";
/// From here on Node.js reads the environment if it is told to.
const NODE_READS: [(u64, u64); 2] = [(22, 21), (24, 0)];

/// What a program is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Curl,
    Wget,
    Git,
    Python,
    /// The version, where the binary says it.
    Node(Option<(u64, u64)>),
    Java,
    Go,
    Ruby,
    Php,
    Docker,
    Browser,
    Shell,
    Unknown,
}

/// A command, as far as it is known.
#[derive(Debug)]
pub(crate) struct Program {
    pub(super) shown: String,
    pub(super) kind: Kind,
    is_there: bool,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Wget => "wget",
            Self::Git => "git",
            Self::Python => "Python",
            Self::Node(_) => "Node.js",
            Self::Java => "Java",
            Self::Go => "Go",
            Self::Ruby => "Ruby",
            Self::Php => "PHP",
            Self::Docker => "Docker",
            Self::Browser => "a browser",
            Self::Shell => "a shell",
            Self::Unknown => "not recognised",
        }
    }

    /// By the name of a file, without its version.
    fn of_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix(".exe").unwrap_or(name);
        let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        Some(match bare {
            "curl" => Self::Curl,
            "wget" => Self::Wget,
            "git" => Self::Git,
            "python" | "pip" | "pipx" | "uv" | "poetry" | "pytest" | "aws" => Self::Python,
            "node" | "nodejs" | "npm" | "npx" | "yarn" | "pnpm" | "tsx" => Self::Node(None),
            "java" | "mvn" | "gradle" | "gradlew" | "kotlin" | "scala" | "sbt" => Self::Java,
            "go" | "kubectl" | "helm" | "terraform" | "gh" => Self::Go,
            "ruby" | "bundle" | "rails" | "gem" | "rake" => Self::Ruby,
            "php" | "composer" => Self::Php,
            "docker" | "podman" => Self::Docker,
            "chromium" | "google-chrome" | "firefox" => Self::Browser,
            "sh" | "bash" | "zsh" | "dash" | "fish" | "make" => Self::Shell,
            _ => return None,
        })
    }
}

/// What a command is.
pub(crate) fn recognise(command: &OsStr, inherited: Inherited<'_>) -> Program {
    let found = find(Path::new(command), inherited);
    let shown = found.as_deref().unwrap_or(Path::new(command)).display().to_string();
    let Some(path) = found else { return Program { shown, kind: Kind::Unknown, is_there: false } };
    let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    let named = |path: &Path| path.file_name().and_then(OsStr::to_str).and_then(Kind::of_name);
    let mut head = [0; 256];
    let read = File::open(&real).and_then(|mut file| file.read(&mut head)).unwrap_or_default();
    let kind = named(&path).or_else(|| interpreter(&head[..read])).or_else(|| named(&real));
    let kind = match kind {
        Some(Kind::Node(None)) => {
            let node = if head.starts_with(b"#!") { find(Path::new("node"), inherited) } else { Some(real) };
            Kind::Node(node.and_then(|node| version_of_node(&node)))
        }
        Some(kind) => kind,
        None if contains(&real, GO).is_some() => Kind::Go,
        None => Kind::Unknown,
    };
    Program { shown, kind, is_there: true }
}

/// Where a shell would find it.
fn find(command: &Path, inherited: Inherited<'_>) -> Option<PathBuf> {
    if command.components().count() > 1 {
        return command.is_file().then(|| command.to_owned());
    }
    let path = inherited("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(command)).find(|file| file.is_file())
}

/// Whom the first line names: `#!/usr/bin/python3`, `#!/usr/bin/env -S node --x`.
fn interpreter(head: &[u8]) -> Option<Kind> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    let first = words.next()?;
    let name = if first == "env" { words.find(|word| !word.starts_with('-') && !word.contains('='))? } else { first };
    Kind::of_name(name)
}

/// What follows `wanted` in a file, up to 32 bytes.
fn contains(path: &Path, wanted: &[u8]) -> Option<Vec<u8>> {
    let mut file = File::open(path).ok()?.take(MOST);
    let mut part = Vec::with_capacity(PART + 64);
    loop {
        let kept = part.len().min(wanted.len() + 32);
        part.drain(..part.len() - kept);
        let count = (&mut file).take(PART as u64).read_to_end(&mut part).ok()?;
        if let Some(at) = part.windows(wanted.len()).position(|window| window == wanted) {
            let rest = &part[at + wanted.len()..];
            return Some(rest[..rest.len().min(32)].to_vec());
        }
        if count == 0 {
            return None;
        }
    }
}

fn version_of_node(path: &Path) -> Option<(u64, u64)> {
    let text = String::from_utf8_lossy(&contains(path, NODE)?).into_owned();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What is known of it.
pub(super) fn findings(program: &Program, inherited: Inherited<'_>) -> Vec<Finding> {
    use Level::{Error, Note, Warning};

    let value = |name: &str| inherited(name).unwrap_or_default();
    let loopback = |who: &str| {
        let what = format!("{who} never uses a proxy for localhost and 127.0.0.1");
        let action =
            "call it by a made-up name that `resolve:` leads there, such as `resolve: {api.test: 127.0.0.1:9001}`";
        Finding::new(Note, "loopback", what, action)
    };
    if !program.is_there {
        let what = format!("{} is not found", program.shown);
        return vec![Finding::new(Error, "no-command", what, "check its name and PATH")];
    }
    match program.kind {
        Kind::Curl | Kind::Wget | Kind::Git => Vec::new(),
        Kind::Python => vec![Finding::new(
            Note,
            "library",
            "urllib, requests, httpx and boto3 read the environment; aiohttp does only with trust_env=True, urllib3 never",
            "give aiohttp's ClientSession trust_env=True, and use urllib3's ProxyManager",
        )],
        Kind::Node(version) => {
            let reads = |(major, minor)| NODE_READS.iter().any(|(a, b)| *a == major && minor >= *b) || major > 24;
            let other = "axios and undici's EnvHttpProxyAgent do it themselves";
            match version {
                Some(version) if !reads(version) => {
                    let what = format!(
                        "Node.js {}.{} reads no proxy variable: fetch, http and https go around the proxy",
                        version.0, version.1
                    );
                    let action = format!("use Node.js 24 (or 22.21) with NODE_USE_ENV_PROXY=1; {other}");
                    vec![Finding::new(Error, "node-reads-none", what, action)]
                }
                Some(_) if value("NODE_USE_ENV_PROXY") != "1" => {
                    let what = "Node.js reads the proxy variables only with NODE_USE_ENV_PROXY=1, which is not set";
                    vec![Finding::new(Error, "node-not-told", what, "export NODE_USE_ENV_PROXY=1")]
                }
                Some(_) => Vec::new(),
                None => {
                    let what =
                        "Node.js before 22.21 reads no proxy variable, and later ones only with NODE_USE_ENV_PROXY=1";
                    vec![Finding::new(Warning, "node-version", what, format!("look at `node --version`; {other}"))]
                }
            }
        }
        Kind::Java => {
            let mut findings = vec![loopback("Java")];
            if !value(variables::JAVA).contains("-Dhttps.proxyHost=") {
                let what = "Java reads no proxy variable, and JAVA_TOOL_OPTIONS names no proxy";
                let action = "start it with `attache run -- CMD`, or eval \"$(attache env)\"";
                findings.push(Finding::new(Error, "java-not-told", what, action));
            }
            findings
        }
        Kind::Go => vec![loopback("Go's net/http")],
        Kind::Ruby => {
            let mut findings = vec![loopback("Ruby")];
            if value("http_proxy").is_empty() {
                let what = "Ruby's Net::HTTP takes http_proxy for https too, and it is not set";
                findings.push(Finding::new(Error, "ruby-https", what, "export http_proxy=\"$https_proxy\""));
            }
            findings
        }
        Kind::Php => {
            let what = "PHP's streams (file_get_contents, fopen) read no proxy variable; its curl does";
            vec![Finding::new(Warning, "php-streams", what, "use curl or Guzzle, or give the stream context a proxy")]
        }
        Kind::Docker => {
            let what = "a container has an environment and a loopback of its own";
            let action = "attache env --shell docker > proxy.env, and `docker run --env-file proxy.env ...`";
            vec![Finding::new(Warning, "container", what, action)]
        }
        Kind::Browser => {
            let what = "browsers never use a proxy for localhost, and Firefox reads its own settings";
            let action = "for Chromium: --proxy-server=$http_proxy --proxy-bypass-list='<-loopback>'";
            vec![Finding::new(Warning, "browser", what, action)]
        }
        Kind::Shell => {
            let what = "what this starts in turn is not looked at";
            vec![Finding::new(Note, "shell", what, "ask again for each command that it starts")]
        }
        Kind::Unknown => {
            let what = "not known what this is made with: most HTTP libraries read the variables, some do not";
            vec![Finding::new(
                Note,
                "unknown",
                what,
                "look whether its requests are in the access log or `attache status`",
            )]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(kind: Kind, pairs: &[(&str, &str)]) -> Vec<(Level, &'static str)> {
        let inherited = |name: &str| pairs.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        let program = Program { shown: "x".to_owned(), kind, is_there: true };
        findings(&program, &inherited).iter().map(|one| (one.level, one.id)).collect()
    }

    #[test]
    fn a_program_is_known_by_its_name_or_by_who_reads_it() {
        for (name, kind) in [
            ("python3.11", Kind::Python),
            ("node", Kind::Node(None)),
            ("ruby3.1", Kind::Ruby),
            ("php8.2", Kind::Php),
            ("java", Kind::Java),
        ] {
            assert_eq!(Kind::of_name(name), Some(kind), "{name}");
        }
        assert_eq!(Kind::of_name("nodemon-like"), None);
        for (head, kind) in [
            ("#!/usr/bin/python3\nimport x", Some(Kind::Python)),
            ("#!/usr/bin/env node\n", Some(Kind::Node(None))),
            ("#!/usr/bin/env -S LANG=C ruby -w\n", Some(Kind::Ruby)),
            ("#!/opt/strange\n", None),
            ("\x7fELF", None),
        ] {
            assert_eq!(interpreter(head.as_bytes()), kind, "{head}");
        }
    }

    #[test]
    fn files_are_recognised_on_the_path_and_by_what_they_hold() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display().to_string();
        let inherited = |name: &str| (name == "PATH").then(|| path.clone());
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let kind = |name: &str| recognise(OsStr::new(name), &inherited).kind;
        write("tool", b"#!/usr/bin/env python3\n");
        let mut go = vec![0; PART - 5];
        go.extend_from_slice(GO);
        write("server", &go);
        write("node", b"\x7fELF ... node-v20.11.1-headers.tar.gz");
        write("cli", b"#!/usr/bin/env node\n");
        write("other", b"\x7fELF");

        assert_eq!(kind("tool"), Kind::Python);
        assert_eq!(kind("server"), Kind::Go, "across the end of a part");
        assert_eq!((kind("node"), kind("cli")), (Kind::Node(Some((20, 11))), Kind::Node(Some((20, 11)))));
        assert_eq!(kind("other"), Kind::Unknown);
        assert!(!recognise(OsStr::new("nowhere"), &inherited).is_there);
    }

    #[test]
    fn each_runtime_is_told_what_it_does_not_read() {
        use Level::{Error, Note, Warning};

        assert_eq!(ids(Kind::Curl, &[]), []);
        assert_eq!(ids(Kind::Node(Some((20, 20))), &[("NODE_USE_ENV_PROXY", "1")]), [(Error, "node-reads-none")]);
        assert_eq!(ids(Kind::Node(Some((22, 20))), &[]), [(Error, "node-reads-none")]);
        assert_eq!(ids(Kind::Node(Some((22, 21))), &[]), [(Error, "node-not-told")]);
        assert_eq!(ids(Kind::Node(Some((25, 0))), &[("NODE_USE_ENV_PROXY", "1")]), []);
        assert_eq!(ids(Kind::Node(None), &[]), [(Warning, "node-version")]);
        assert_eq!(ids(Kind::Java, &[]), [(Note, "loopback"), (Error, "java-not-told")]);
        assert_eq!(ids(Kind::Java, &[("JAVA_TOOL_OPTIONS", "-Dhttps.proxyHost=a")]), [(Note, "loopback")]);
        assert_eq!(ids(Kind::Ruby, &[("https_proxy", "x")]), [(Note, "loopback"), (Error, "ruby-https")]);
        assert_eq!(ids(Kind::Go, &[]), [(Note, "loopback")]);
        assert_eq!(ids(Kind::Php, &[]), [(Warning, "php-streams")]);
    }
}
