//! A value that shares its cache line with nothing else.
//!
//! 128 bytes, not 64: x86 prefetches lines in pairs, and some arm64 cores have lines of 128.

use std::ops::Deref;

/// Keeps a hot value off the cache lines of its neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
