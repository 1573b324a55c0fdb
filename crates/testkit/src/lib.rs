//! What tests need twice.
