//! Where text goes: data to stdout, messages to stderr, colour only where a person looks.
//!
//! A reader that closed its end (`attache man | head`) is not an error; a full disk is.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use config::model::Log;
use proxy::messages::{self, Messages};
use serde_json::Value;

/// The version of every `--json` output; it changes when a field changes its meaning or goes away.
const JSON_VERSION: u64 = 1;

/// Prints a command's data, and with it ends the command.
pub(crate) fn data(text: impl Display) -> ExitCode {
    let mut stdout = io::stdout().lock();
    written(writeln!(stdout, "{text}").and_then(|()| stdout.flush()))
}

/// The same for what is no text.
pub(crate) fn bytes(content: &[u8]) -> ExitCode {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(content).and_then(|()| stdout.flush()))
}

fn written(written: io::Result<()>) -> ExitCode {
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            failure(format!("cannot write to standard output: {e}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Prints an object as JSON, with its version.
pub(crate) fn json(value: Value) -> ExitCode {
    let mut object = serde_json::Map::from_iter([("version".to_owned(), JSON_VERSION.into())]);
    match value {
        Value::Object(fields) => object.extend(fields.into_iter().filter(|(key, _)| key != "version")),
        other => {
            object.insert("data".to_owned(), other);
        }
    }
    data(format_args!("{:#}", Value::Object(object)))
}

/// A message for the person at the terminal.
pub(crate) fn message(text: impl Display) {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A message that something failed.
pub(crate) fn failure(text: impl Display) {
    let error = Paint::stderr().red("error");
    message(format_args!("{error}: {text}"));
}

/// Text with a severity at its head, as compilers write it.
pub(crate) fn diagnostic(text: impl Display) {
    let (paint, text) = (Paint::stderr(), text.to_string());
    let painted = match text.split_once('[') {
        Some(("error", rest)) => format!("{}[{rest}", paint.red("error")),
        Some(("warning", rest)) => format!("{}[{rest}", paint.yellow("warning")),
        _ => text,
    };
    message(format_args!("{painted}\n"));
}

/// Shows what the proxy itself has to say on stderr, from now on.
pub(crate) fn show_messages(log: &Log) -> Option<Messages> {
    messages::show(log, Paint::stderr().on())
}

/// Colours, or the same words without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Never colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self(false);

    pub(crate) fn stdout() -> Self {
        Self(io::stdout().is_terminal() && wanted())
    }

    pub(crate) fn stderr() -> Self {
        Self(io::stderr().is_terminal() && wanted())
    }

    pub(crate) const fn on(self) -> bool {
        self.0
    }

    pub(crate) fn red(self, text: impl Display) -> String {
        self.wrap("1;31", text)
    }

    pub(crate) fn yellow(self, text: impl Display) -> String {
        self.wrap("33", text)
    }

    pub(crate) fn green(self, text: impl Display) -> String {
        self.wrap("32", text)
    }

    pub(crate) fn bold(self, text: impl Display) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn dim(self, text: impl Display) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: impl Display) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// <https://no-color.org>: any value that is not empty turns colour off.
fn wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paint_leaves_the_text_alone() {
        assert_eq!(Paint::PLAIN.red("x"), "x");
        assert_eq!(Paint(true).red("x"), "\x1b[1;31mx\x1b[0m");
    }
}
