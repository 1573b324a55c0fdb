//! Runs a program that prints a secret.
//!
//! Without a shell, without input, with a bounded time and output, and with little of our environment: what it needs beside
//! `PASSED` is said on its command line (`[env, AWS_PROFILE=ci, aws, ...]`). A program that fails may write anything to
//! stderr, so that only a first line goes to the log, cut and without what looks like a secret.

use std::process::Stdio;
use std::time::Duration;

use config::model;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Failure, Fresh};

/// For the program to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of its output.
const MOST: usize = 64 * 1024;
/// Of what it says on stderr.
const SAID: usize = 160;
/// A word of so many characters may be a secret.
const WORD: usize = 16;
/// What it sees of our environment.
const PASSED: &[&str] =
    &["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CREDENTIALS_DIRECTORY", "SYSTEMROOT"];

/// What it prints; the program is killed when this is dropped.
///
/// # Errors
/// Which program, and what became of it.
pub async fn output(exec: &model::Exec) -> Result<Fresh<Zeroizing<String>>, Failure> {
    let shown = shown(exec);
    let [program, arguments @ ..] = exec.command.as_slice() else {
        return Err(Failure::settled("there is no program to run"));
    };
    let seen = PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(seen)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let child = child.map_err(|error| Failure::settled(format!("`{shown}` does not start: {error}")))?;
    match timeout(PATIENCE, ran(child)).await {
        Err(_) => Err(Failure::passing(format!("`{shown}` did not end within {PATIENCE:?}"))),
        Ok(Err(why)) => Err(Failure::settled(format!("`{shown}`: {why}"))),
        Ok(Ok((status, _, said))) if !status.success() => {
            let hint = Some(redacted(&String::from_utf8_lossy(&said))).filter(|hint| !hint.is_empty());
            Err(Failure { hint, ..Failure::settled(format!("`{shown}` failed: {status}")) })
        }
        Ok(Ok((_, output, _))) => {
            let text = std::str::from_utf8(&output)
                .map_err(|_| Failure::settled(format!("what `{shown}` prints is not UTF-8")))?;
            Ok(Fresh { value: Zeroizing::new(text.to_owned()), lifetime: None, every: Some(exec.every) })
        }
    }
}

/// The program without its arguments, which may be nobody's business.
pub fn shown(exec: &model::Exec) -> &str {
    exec.command.first().map_or("", String::as_str)
}

type Ran = (std::process::ExitStatus, Zeroizing<Vec<u8>>, Vec<u8>);

async fn ran(mut child: Child) -> Result<Ran, String> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut output = Zeroizing::new(Vec::with_capacity(4096));
    let mut said = Vec::new();
    let (read, _) = tokio::join!(up_to(stdout, MOST, &mut output), up_to(stderr, MOST, &mut said));
    if !read? {
        return Err(format!("it prints more than {MOST} bytes"));
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    Ok((status, output, said))
}

/// Reads to the end or to one byte too many; whether it came to the end.
async fn up_to(from: Option<impl AsyncRead + Unpin>, most: usize, into: &mut Vec<u8>) -> Result<bool, String> {
    if let Some(from) = from {
        from.take(most as u64 + 1).read_to_end(into).await.map_err(|error| error.to_string())?;
    }
    Ok(into.len() <= most)
}

/// The first line with something in it, short, and with long words left out.
fn redacted(said: &str) -> String {
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let secret = |word: &str| {
        let most = word.split(|c: char| !(c.is_ascii_alphanumeric() || "+/_-".contains(c))).map(str::len).max();
        most.is_some_and(|most| most >= WORD)
    };
    let words = line.split_whitespace().map(|word| if secret(word) { "(redacted)" } else { word });
    let text: String = words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(SAID).collect();
    text
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn exec(words: &[&str]) -> model::Exec {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        model::Exec { command, every: Duration::from_secs(300) }
    }

    async fn run(words: &[&str]) -> Result<String, Failure> {
        output(&exec(words)).await.map(|fresh| fresh.value.to_string())
    }

    #[tokio::test]
    async fn what_it_prints_is_read_and_no_shell_is_asked() {
        assert_eq!(run(&["printf", "%s", "$HOME;id"]).await.expect("ran"), "$HOME;id");
        assert_eq!(run(&["sh", "-c", "cat"]).await.expect("ran"), "", "there is no input");
    }

    #[tokio::test]
    async fn little_of_our_environment_is_seen() {
        let seen = run(&["env"]).await.expect("ran");
        let names: Vec<_> = seen.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();

        assert!(names.contains(&"PATH") && std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "{names:?}");
        assert!(names.iter().all(|name| PASSED.contains(name)), "{names:?}");
    }

    #[tokio::test]
    async fn what_fails_is_named_without_its_arguments_and_its_words() {
        let failure = run(&["sh", "-c", "echo; echo 'no luck with hunter2hunter2hunter2 today' >&2; exit 3"]).await;

        let failure = failure.expect_err("it failed");
        assert!(failure.settled && failure.detail.contains("`sh` failed") && !failure.detail.contains("hunter2"));
        assert_eq!(failure.hint.as_deref(), Some("no luck with (redacted) today"));
        let missing = run(&["/nowhere/at-all", "hunter2"]).await.expect_err("there is none");
        assert!(missing.detail.contains("/nowhere/at-all") && !missing.detail.contains("hunter2"), "{missing:?}");
    }

    #[tokio::test]
    async fn endless_output_is_given_up() {
        let failure = run(&["sh", "-c", "while :; do echo 0123456789012345678901234567890123456789; done"]).await;

        assert!(failure.expect_err("too much").detail.contains("more than 65536 bytes"));
    }

    #[test]
    fn a_line_of_stderr_is_cut_and_cleaned() {
        assert_eq!(redacted("\n  \n expired: ABCDEFGHIJ0123456789==\nmore"), "expired: (redacted)");
        assert_eq!(redacted("key=abcdefghijklmnop, retry"), "(redacted) retry");
        assert_eq!(redacted("\u{1b}[31mred"), "[31mred");
        assert_eq!(redacted(&"ab ".repeat(200)).len(), SAID);
    }
}
