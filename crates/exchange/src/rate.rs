//! The `RateLimit` and `RateLimit-Policy` fields (draft-ietf-httpapi-ratelimit-headers-10), as we write them.

use std::time::Duration;

use http::HeaderValue;

/// A quota, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The policy's name: by what it counts.
    pub policy: &'static str,
    /// Requests in a window.
    pub quota: u32,
    /// How long a window is.
    pub window: Duration,
    /// Requests left in it.
    pub remaining: u32,
    /// Until there are more.
    pub reset: Duration,
}

impl Rate {
    /// The value of `RateLimit-Policy`.
    pub fn policy_field(&self) -> HeaderValue {
        value(format!("\"{}\";q={};w={}", self.policy, self.quota, seconds(self.window)))
    }

    /// The value of `RateLimit`.
    pub fn field(&self) -> HeaderValue {
        value(format!("\"{}\";r={};t={}", self.policy, self.remaining, seconds(self.reset)))
    }
}

/// Rounded up: who comes back after them is not early.
pub(crate) const fn seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add((time.subsec_nanos() > 0) as u64)
}

fn value(text: String) -> HeaderValue {
    // A word, numbers and punctuation.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_draft_says_with_times_rounded_up() {
        let rate = Rate {
            policy: "client",
            quota: 100,
            window: Duration::from_secs(60),
            remaining: 0,
            reset: Duration::from_millis(1001),
        };

        assert_eq!(rate.policy_field(), "\"client\";q=100;w=60");
        assert_eq!(rate.field(), "\"client\";r=0;t=2");
    }
}
