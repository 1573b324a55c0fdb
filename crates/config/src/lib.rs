//! Text into a checked model. Raw text, checked model and running snapshot are three types.
//!
//! The way of a text: `raw` reads YAML or TOML into one located tree, `raw::overlay` lays environment and flags over
//! it, `shape` walks it along the tables of `keys` and fills in defaults, `check` reads it through
//! `fields`, makes the [`Model`] and applies the
//! rules between values. Every pass reports into one [`diag`] report, so all mistakes are shown at once. Nothing in
//! here opens a socket or reads a secret.

pub mod diag;
pub mod effective;
pub mod load;
pub mod model;

mod check;
mod fields;
mod keys;
mod raw;
mod schema;
mod shape;
mod table;
mod units;
mod values;

pub use diag::{Diagnostic, Severity};
pub use effective::{Origins, carries_secret};
pub use load::{EMBEDDED, Loaded, Override, Source, SourceName, load, parse};
pub use model::Model;
pub use raw::Format;
pub use schema::schema;
