//! What tests need twice.

pub mod child;
pub mod flaky;
pub mod load;
pub mod origin;
