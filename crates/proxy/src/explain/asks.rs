//! Whom a route asks to show themselves.

use middleware::authenticate::Gate;

/// Who may show themselves, and what becomes of those who do not.
pub(super) fn asks(gate: &Gate, door: &str) -> String {
    let (names, required) = gate.asks();
    let status = if door.contains("CONNECT") { "CONNECT without it gets 407" } else { "407 without, 401 as an origin" };
    let without = if required { status } else { "without, it goes on" };
    format!("{}; {without}", names.join(" or "))
}
