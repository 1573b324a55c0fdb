//! A credential that was refused, and whether there is another.
//!
//! A 401 says that the request was not acted on for want of a valid credential (RFC 9110 section 15.5.2). Whoever puts a
//! credential on notes which one in the record; whoever can make the request again asks whether there is a newer one.
//! Both know this file and not each other.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Exchange;

/// Which credential the last attempt carried; 0: none of ours.
#[derive(Debug, Default)]
pub struct Carried(AtomicU64);

impl Carried {
    /// Notes the number of a value; they begin with 1.
    pub fn set(&self, number: u64) {
        self.0.store(number, Relaxed);
    }

    /// The number of the value that the last attempt carried.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|number| *number > 0)
    }
}

/// The answer to [`Renew::renewed`].
pub type Renewed<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Where another credential may come from.
pub trait Renew: Send + Sync {
    /// The upstream refused what the last attempt carried. Waits a bounded time for a newer one, which it asks for unless
    /// somebody just has; `false`: there is none, so the same request would be refused again.
    fn renewed<'a>(&'a self, exchange: &'a Exchange) -> Renewed<'a>;
}
