//! The end of an exchange, seen from outside: counted and logged.

use std::sync::Arc;

use exchange::Exchange;
use policy::Tick;

use crate::access_log::Writer;
use crate::metrics::RouteStats;

/// What one route in one worker owes a finished exchange.
#[derive(Clone, Debug)]
pub struct Observer {
    /// Where it is counted.
    pub stats: Arc<RouteStats>,
    /// Where its line goes, if lines are written.
    pub log: Option<Arc<Writer>>,
}

impl Observer {
    /// Counts and logs it; called once, at the end of the response's body or when nobody waits for it any more.
    pub fn finished(&self, exchange: &Exchange, now: Tick) {
        self.stats.finished(exchange, now);
        if let Some(log) = &self.log {
            log.write(exchange, self.stats.name(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access_log::{Format, Sink};
    use crate::fixture::{after, exchange};
    use crate::{AccessLog, Metrics, expose};

    #[test]
    fn what_ended_is_counted_and_logged_under_the_same_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("access.log");
        let metrics = Metrics::new("test");
        let log = AccessLog::new(Sink::File(path.clone()), Format::Json, 1.0, metrics.events().clone()).expect("opens");
        let stats = metrics.shard().route(&Arc::from("_default"));
        let observer = Observer { stats, log: log.writer() };
        let exchange = exchange("/");
        exchange.answered(204, None, Some(after(1)));

        observer.finished(&exchange, after(2));

        assert!(log.close(Duration::from_secs(30)));
        let line: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("a line");
        assert_eq!((&line["route"], &line["status"]), (&"_default".into(), &204.into()));
        let counted = "attache_requests_total{route=\"_default\",method=\"GET\",code=\"204\",reason=\"\"} 1\n";
        assert!(expose::render(&metrics).contains(counted));
    }
}
