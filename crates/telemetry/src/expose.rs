//! Metrics as Prometheus text: the one place that knows the encoder.

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use crate::Metrics;

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics as they are now.
pub fn render(metrics: &Metrics) -> String {
    text(&metrics.registry().gather())
}

/// The same without what is counted by the names of callers: for one of them.
pub fn render_nameless(metrics: &Metrics) -> String {
    let mut families = metrics.registry().gather();
    families.retain(|family| !Metrics::names_callers(family.name()));
    text(&families)
}

fn text(families: &[MetricFamily]) -> String {
    let mut text = String::with_capacity(16 * 1024);
    if let Err(error) = TextEncoder::new().encode_utf8(families, &mut text) {
        tracing::error!(%error, "metrics cannot be encoded");
    }
    text
}

#[cfg(test)]
mod tests;
