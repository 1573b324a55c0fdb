//! What is worked out from a finished exchange, the same for metric and log.

use std::time::Duration;

use exchange::{Attempt, ErrorKind, Exchange};

/// The status that is counted and logged: 499 for a client that went away, whatever had been sent to it; 0 if
/// there was none.
pub(crate) fn status(exchange: &Exchange) -> u16 {
    match (exchange.reason(), exchange.status()) {
        (Some(ErrorKind::ClientGone), _) => 499,
        // Reset on purpose, without an answer.
        (Some(ErrorKind::Fault), 0) => 0,
        (Some(kind), 0) => kind.status(exchange.head.door).as_u16(),
        (_, status) => status,
    }
}

/// Our own time: from the request's head to the response's, less the attempts up to then; `None` without a
/// response. Waits of ours (queue, backoff) count. Attempts that overlap are taken off twice, so with them it is
/// too small, never too large.
pub(crate) fn overhead(exchange: &Exchange, attempts: &[Attempt]) -> Option<Duration> {
    let first_byte = exchange.time_to_first_byte()?;
    let head = exchange.head.started + first_byte;
    let spent = attempts.iter().map(|attempt| attempt.took.min(head.since(attempt.started))).sum();
    Some(first_byte.saturating_sub(spent))
}

/// Neither answered well nor on purpose, or not by the route's own upstream: always logged.
pub(crate) fn is_failure(exchange: &Exchange, status: u16) -> bool {
    exchange.reason().is_some() || exchange.detour.fallback().is_some() || !(100..400).contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{after, attempt, exchange};

    #[test]
    fn a_client_that_left_is_499_even_after_the_head() {
        let exchange = exchange("/");
        exchange.answered(200, None, Some(after(1)));
        assert_eq!(status(&exchange), 200);

        exchange.set_reason(ErrorKind::ClientGone);

        assert_eq!(status(&exchange), 499);
    }

    #[test]
    fn a_failure_without_a_response_has_its_kinds_status() {
        let exchange = exchange("/");
        assert_eq!(status(&exchange), 0);

        exchange.set_reason(ErrorKind::NoRoute);

        assert_eq!(status(&exchange), 403);
    }

    #[test]
    fn overhead_is_what_no_attempt_took_before_the_head() {
        let exchange = exchange("/");
        assert_eq!(overhead(&exchange, &[]), None);
        exchange.answered(200, None, Some(after(100)));

        let attempts = [attempt(5, 40, Err(ErrorKind::Reset)), attempt(50, 49, Ok(200)), attempt(200, 70, Ok(200))];

        assert_eq!(overhead(&exchange, &attempts), Some(Duration::from_millis(11)));
        assert_eq!(overhead(&exchange, &[attempt(0, 500, Ok(200))]), Some(Duration::ZERO));
    }
}
