//! A stream of which the final head is not sent yet, as its exchange knows it.
//!
//! The exchange hears of interim responses in another task (the upstream connection's) than the stream's; both reach the
//! stream through one lock, so none can come after the final head. Cost: one allocation a request.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use exchange::exchange::Connection;
use exchange::{Exchange, Interim};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;
use parking_lot::Mutex;

use super::wire::Ledger;
use crate::listener::pulse::Pulse;

/// Beyond its fields.
const STATUS_LINE: usize = 32;

/// See the module.
pub(super) struct Reply {
    pulse: Arc<Pulse>,
    ledger: Arc<Ledger>,
    /// Dropped with the final head: h2 looks after a stream that nobody holds any more.
    stream: Mutex<Option<SendResponse<Bytes>>>,
}

impl Reply {
    /// A stream that was just accepted.
    pub(super) fn new(stream: SendResponse<Bytes>, pulse: Arc<Pulse>, ledger: Arc<Ledger>) -> Self {
        Self { pulse, ledger, stream: Mutex::new(Some(stream)) }
    }

    /// Ready once the client reset it, or its connection has ended.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut stream = self.stream.lock();
        let polled = stream.as_mut().map_or(Poll::Pending, |stream| stream.poll_reset(cx).map(drop));
        if polled.is_ready() {
            *stream = None;
        }
        polled
    }

    /// Sends the final head; nothing if the stream is gone or will not take it.
    pub(super) fn send(&self, head: Response<()>, ends: bool) -> Option<SendStream<Bytes>> {
        let mut stream = self.stream.lock().take()?;
        match stream.send_response(head, ends) {
            Ok(out) => Some(out),
            Err(error) => {
                tracing::debug!(%error, "client stream: no head could be sent");
                stream.send_reset(Reason::INTERNAL_ERROR);
                None
            }
        }
    }

    /// Ends it without an answer.
    pub(super) fn reset(&self, reason: Reason) {
        if let Some(mut stream) = self.stream.lock().take() {
            stream.send_reset(reason);
        }
    }

    fn inform(&self, interim: Interim) {
        let Some((status, fields, length)) = interim.fields() else { return };
        let mut stream = self.stream.lock();
        let Some(stream) = stream.as_mut().filter(|_| self.ledger.admits(length + STATUS_LINE)) else { return };
        let mut head = Response::new(());
        *head.status_mut() = status;
        *head.headers_mut() = fields;
        // A stream that is gone needs none.
        let _ = stream.send_informational(head);
    }
}

impl Connection for Reply {
    fn begin(&self) {
        self.pulse.begin();
    }

    fn end(&self) {
        self.pulse.end();
    }

    fn unread(&self) {}

    fn running(&self) -> u32 {
        self.pulse.running()
    }

    /// That a client leaves, its stream says.
    fn whole(&self, _: bool) {}

    fn wanted(&self) {
        self.inform(Interim::go_on());
    }

    fn interim(&self, interim: Interim, _: Weak<Exchange>) {
        self.inform(interim);
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
