//! The last word to a client whose connection ends without a request: said so that it is heard.
//!
//! A socket that is closed with bytes unread is reset, and what was said would be lost with it, for a client that still
//! sends. So our side is shut down, and what comes then is read into nothing, until the client has left, or enough came,
//! or a second is over: a stranger gets no more of a worker than that.

use std::time::Duration;

use exchange::Io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// For all of it.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Read and thrown away; more than both kernels hold for a client that has just been told.
const DISCARDED: u64 = 8 << 20;

/// Says it and ends the connection. The word may be empty, where it was said already.
pub(super) async fn say(mut io: Io, word: &[u8]) {
    let said = async {
        io.write_all(word).await?;
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(DISCARDED), &mut tokio::io::sink()).await
    };
    // The client may be gone, or not read: it was told what can be told.
    let _ = tokio::time::timeout(LAST_WORDS, said).await;
}
