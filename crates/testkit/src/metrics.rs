//! A scrape of `/metrics`, looked at by name and labels.

/// One scrape.
pub struct Metrics(String);

impl Metrics {
    /// Of a text that was scraped.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text as it was scraped.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The sum of all series of `name` that have these labels; 0 if there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let samples = self.0.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        samples
            .filter(|(series, _)| {
                series.split('{').next() == Some(name) && wanted.iter().all(|label| series.contains(label.as_str()))
            })
            .map(|(series, value)| value.parse::<f64>().unwrap_or_else(|_| panic!("{series} is not a number: {value}")))
            .sum()
    }

    /// A family of this name is announced.
    pub fn has(&self, name: &str) -> bool {
        self.0.lines().any(|line| line.strip_prefix("# TYPE ").is_some_and(|rest| rest.split(' ').next() == Some(name)))
    }
}
