//! A request that may have to be made again, elsewhere.

use std::sync::Arc;

use exchange::Body;
use exchange::body::Replay;
use http::Request;
use http_body::Body as _;

use crate::original::Original;

/// Its head as it came from above, and its body as far as that is kept.
pub(super) struct Kept {
    original: Original,
    /// Absent for an empty body.
    replay: Option<Replay>,
}

impl Kept {
    /// Keeps `request`, whose body is read through what is kept from now on.
    pub(super) fn of(request: &mut Request<Body>, cap: usize) -> Self {
        let original = Original::of(request);
        let replay = (!request.body().is_end_stream()).then(|| Replay::new(std::mem::take(request.body_mut()), cap));
        if let Some(body) = replay.as_ref().and_then(Replay::body) {
            *request.body_mut() = body.with_record(Arc::clone(&original.exchange));
        }
        Self { original, replay }
    }

    /// The same request from its first byte; `None` once more of its body than the cap was read.
    pub(super) fn request(&self) -> Option<Request<Body>> {
        let body = match &self.replay {
            Some(replay) => replay.body()?,
            None => Body::empty(),
        };
        Some(self.original.request(body))
    }
}
