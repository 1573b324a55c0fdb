//! The vocabulary of one request and its response: what every layer, from the edge to the socket, speaks.

pub mod clock;
