//! Metrics as Prometheus text: the one place that knows the encoder.

use prometheus::TextEncoder;

use crate::Metrics;

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics as they are now.
pub fn render(metrics: &Metrics) -> String {
    let families = metrics.registry().gather();
    let mut text = String::with_capacity(16 * 1024);
    if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
        tracing::error!(%error, "metrics cannot be encoded");
    }
    text
}

#[cfg(test)]
mod tests;
