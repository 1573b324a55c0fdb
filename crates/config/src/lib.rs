//! Text into a checked model. Raw text, checked model and running snapshot are three types.

pub mod model;

pub use model::Model;
