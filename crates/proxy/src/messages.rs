//! What the proxy says on stderr, at the level the configuration in force asks for.

use config::model::{Level, Log};
use telemetry::trace;
pub use telemetry::trace::Messages;

/// Shows messages from now on; once a process, later calls show nothing new and return `None`.
pub fn show(log: &Log, colour: bool) -> Option<Messages> {
    trace::init(level(log.level), log.json, colour).ok()
}

/// Applies a new configuration's level.
pub(crate) fn follow(messages: Option<&Messages>, log: &Log) {
    if let Some(messages) = messages {
        messages.set_level(level(log.level));
    }
}

const fn level(level: Level) -> trace::Level {
    match level {
        Level::Error => trace::Level::ERROR,
        Level::Warn => trace::Level::WARN,
        Level::Info => trace::Level::INFO,
        Level::Debug => trace::Level::DEBUG,
        Level::Trace => trace::Level::TRACE,
    }
}
