//! From a request to its route: host, path, method, headers, query; the first route that matches wins.

pub mod matcher;
pub mod table;

pub use matcher::Field;
pub use table::Table;
