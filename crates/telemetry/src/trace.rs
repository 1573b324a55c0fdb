//! Messages for people, on stderr: `time level message fields`.
//!
//! The level may change while the program runs. What our dependencies say is only shown from `warn` up, unless
//! everything is (`trace`): at `debug` HTTP/2 and TLS alone would drown the rest.

use std::{fmt, io};

use exchange::clock;
use parking_lot::Mutex;
pub use tracing::Level;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{SetGlobalDefaultError, set_global_default};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::stamp::Stamp;

/// The crates of this workspace.
const OURS: [&str; 8] = ["attache", "config", "exchange", "middleware", "policy", "proxy", "telemetry", "upstream"];

/// Changes the level.
#[derive(Debug)]
pub struct Messages {
    level: Mutex<Level>,
    filter: reload::Handle<Targets, Registry>,
}

/// Shows messages on stderr from now on; once a process.
pub fn init(level: Level, json: bool, colour: bool) -> Result<Messages, SetGlobalDefaultError> {
    let (subscriber, messages) = build(level, json, colour, io::stderr);
    set_global_default(subscriber)?;
    Ok(messages)
}

impl Messages {
    /// The level now.
    pub fn level(&self) -> Level {
        *self.level.lock()
    }

    /// Shows messages of this level and above.
    pub fn set_level(&self, to: Level) {
        let mut level = self.level.lock();
        // It only fails once the subscriber is gone, and then there is nothing to show.
        if self.filter.reload(filter(to)).is_ok() {
            *level = to;
        }
    }
}

fn build<W>(level: Level, json: bool, colour: bool, to: W) -> (impl Subscriber + Send + Sync, Messages)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = layer().with_writer(to).with_timer(Wall).with_target(false);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        lines.with_ansi(colour).boxed()
    };
    (Registry::default().with(filter).with(lines), Messages { level: Mutex::new(level), filter: handle })
}

fn filter(level: Level) -> Targets {
    let others = if level == Level::TRACE { level } else { level.min(Level::WARN) };
    Targets::new().with_default(LevelFilter::from_level(others)).with_targets(OURS.map(|name| (name, level)))
}

/// The wall clock of the exchange crate.
struct Wall;

impl FormatTime for Wall {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        to.write_str(Stamp::new(clock::wall(clock::now())).as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tracing::{debug, info, subscriber::with_default, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(level: Level, json: bool, colour: bool, say: impl FnOnce(&Messages)) -> Vec<String> {
        let page = Page::default();
        let to = page.clone();
        let (subscriber, messages) = build(level, json, colour, move || to.clone());
        with_default(subscriber, || say(&messages));
        let bytes = page.0.lock().clone();
        String::from_utf8(bytes).expect("utf-8").lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_message_is_time_level_message_fields() {
        let lines = shown(Level::INFO, false, false, |_| info!(port = 4780, "listening"));

        let (time, rest) = lines[0].split_once(' ').expect("words");
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        assert_eq!(rest.trim_start(), "INFO listening port=4780");
        let lines = shown(Level::INFO, true, false, |_| info!(port = 4780, "listening"));
        let object: serde_json::Value = serde_json::from_str(&lines[0]).expect("an object");
        assert_eq!(
            (&object["level"], &object["message"], &object["port"]),
            (&"INFO".into(), &"listening".into(), &4780.into())
        );
    }

    #[test]
    fn colour_only_when_told() {
        for colour in [false, true] {
            let lines = shown(Level::INFO, false, colour, |_| info!("hello"));

            assert_eq!(lines[0].contains('\x1b'), colour);
        }
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        let lines = shown(Level::INFO, false, false, |messages| {
            debug!("one");
            messages.set_level(Level::DEBUG);
            assert_eq!(messages.level(), Level::DEBUG);
            debug!("two");
            messages.set_level(Level::WARN);
            info!("three");
        });

        assert_eq!(lines.len(), 1);
        assert!(lines[0].ends_with("two"), "{lines:?}");
    }

    #[test]
    fn dependencies_only_warn() {
        let say = |_: &Messages| {
            debug!(target: "h2::proto", "chatter");
            warn!(target: "h2::proto", "trouble");
        };

        assert_eq!(shown(Level::DEBUG, false, false, say).len(), 1);
        assert_eq!(shown(Level::TRACE, false, false, say).len(), 2);
        assert_eq!(shown(Level::ERROR, false, false, say).len(), 0);
    }
}
