//! What the demo shows: one mark a request, then both sides in numbers.
//!
//! A pure function from numbers to lines, at most [`COLUMNS`] wide; drawing them over the last ones is the caller's. Words
//! carry the meaning, colour only repeats it.

use std::net::SocketAddr;
use std::time::Duration;

use super::fate::{RESET, SLOW, UNAVAILABLE};
use super::tally::{Standing, Sums, percent};
use crate::cli::out::Paint;

/// The widest line.
pub(super) const COLUMNS: usize = 78;
/// Marks in a row.
const ROW: usize = 50;

/// How things are said on this terminal.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) paint: Paint,
    /// The terminal shows more than ASCII.
    pub(super) unicode: bool,
}

impl Style {
    fn mark(self, standing: Standing) -> String {
        let pick = |unicode, ascii| if self.unicode { unicode } else { ascii };
        match standing {
            Standing::Waiting => self.paint.dim(pick("·", ".")),
            Standing::AtOnce => self.paint.green(pick("■", "#")),
            Standing::Saved => self.paint.yellow(pick("▲", "o")),
            Standing::Failed => self.paint.red(pick("✗", "x")),
        }
    }
}

/// What does not change while the demo runs.
pub(super) struct Scene {
    pub(super) proxy: SocketAddr,
    pub(super) service: SocketAddr,
    pub(super) url: &'static str,
    pub(super) seed: u64,
    pub(super) rate: u32,
    pub(super) retry: Option<u32>,
}

/// The part above the numbers.
pub(super) fn head(scene: &Scene, style: Style) -> Vec<String> {
    let Scene { proxy, service, url, seed, rate, retry } = scene;
    let host = |url: &str| url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let arrow = if style.unicode { "──▶" } else { "-->" };
    let tries = retry.map_or("no retries".to_owned(), |attempts| format!("up to {attempts} attempts a request"));
    vec![
        String::new(),
        format!("  {}  a flaky service behind the real proxy, all in this process", style.paint.bold("attache demo")),
        String::new(),
        format!("  client {arrow} attache {proxy} {arrow} {} at {service}", host(url)),
        format!("  Each attempt fails on its own: {UNAVAILABLE} % answer 503, {RESET} % are cut, {SLOW} % slow"),
        format!("  GETs at {rate}/s, {tries}, failures from --seed {seed}"),
        String::new(),
    ]
}

/// The marks and the numbers.
pub(super) fn body(
    standings: impl Iterator<Item = Standing>,
    sums: &Sums,
    breaker: Option<&str>,
    style: Style,
) -> Vec<String> {
    let marks: Vec<String> = standings.map(|standing| style.mark(standing)).collect();
    let total = marks.len();
    let mut lines: Vec<String> = marks.chunks(ROW).map(|row| format!("  {}", row.concat())).collect();
    let legend = [Standing::AtOnce, Standing::Saved, Standing::Failed].map(|s| style.mark(s));
    let [at_once, saved, failed] = legend;
    lines.push(format!(
        "  {at_once} at once   {saved} saved by a retry   {failed} failed   {}/{total} answered",
        sums.requests
    ));
    lines.push(String::new());
    lines.extend(seen_by_client(sums, style));
    lines.push(String::new());
    lines.extend(behind(sums, breaker, style));
    lines
}

fn seen_by_client(sums: &Sums, style: Style) -> Vec<String> {
    let row = |name: &str, with: usize, without: usize| {
        let cell = |count| format!("{count:>6} {:>8}", format!("{:.1} %", percent(count, sums.requests)));
        (format!("  {name:<22}"), cell(with), cell(without))
    };
    let (name, with, without) = row("succeeded", sums.succeeded, sums.first);
    let good = format!("{name}{}{:>4}{}", style.paint.green(with), "", style.paint.dim(without));
    let (name, with, without) = row("failed", sums.requests - sums.succeeded, sums.requests - sums.first);
    let failed = if sums.succeeded < sums.requests { style.paint.red(with) } else { with };
    let head = format!("  {:<22}{:>15}{:>4}{:>15}", "what the client saw", "with attache", "", "without *");
    vec![
        style.paint.bold(head),
        good,
        format!("{name}{failed}{:>4}{}", "", style.paint.dim(without)),
        format!("  {:<22}{:>15}", "time, median", shown(sums.median)),
        format!("  {:<22}{:>15}", "time, 99 of 100 within", shown(sums.p99)),
    ]
}

fn behind(sums: &Sums, breaker: Option<&str>, style: Style) -> Vec<String> {
    let each = if sums.requests == 0 { 0.0 } else { sums.attempts as f64 / sums.requests as f64 };
    let row = |name: &str, count: usize, note: String| {
        format!("  {name:<22}{count:>15}    {}", style.paint.dim(note)).trim_end().to_owned()
    };
    vec![
        style.paint.bold("  what failed behind it"),
        row("attempts", sums.attempts, format!("{each:.2} a request")),
        row("answered 503", sums.unavailable, String::new()),
        row("cut off", sums.reset, String::new()),
        row("slow", sums.slow, String::new()),
        row("retries", sums.retries(), format!("saved {} requests", sums.saved)),
        format!("  {:<22}{:>15}", "circuit breaker", breaker.unwrap_or("-")),
        String::new(),
        style.paint.dim("  * the same requests by their first attempts, as the service recorded them"),
    ]
}

/// The commands to try next.
pub(super) fn next(scene: &Scene, serving: bool, style: Style) -> Vec<String> {
    let Scene { proxy, url, .. } = scene;
    let bold = |text: String| style.paint.bold(format!("{text:<44}"));
    let mut lines = vec![String::new(), "  Next".to_owned()];
    if serving {
        lines.push(format!("    {}", style.paint.bold(format!("curl -i -x http://{proxy} {url}"))));
        lines.push("        through this proxy, as long as the demo runs".to_owned());
    }
    lines.push(format!("    {} seven lines for your service", bold("attache init api.example.com".to_owned())));
    lines
        .push(format!("    {} one command through it", bold("attache run -- curl http://api.example.com/".to_owned())));
    if serving {
        lines.push(String::new());
        lines.push("  Serving until Ctrl-C.".to_owned());
    }
    lines
}

fn shown(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style { paint: Paint::PLAIN, unicode: true };

    fn scene() -> Scene {
        Scene {
            proxy: "127.0.0.1:65535".parse().unwrap(),
            service: "127.0.0.1:65534".parse().unwrap(),
            url: "http://demo.attache/",
            seed: u64::MAX >> 32,
            rate: 1000,
            retry: Some(4),
        }
    }

    fn sums() -> Sums {
        Sums { requests: 200, succeeded: 199, first: 170, saved: 29, attempts: 233, ..Sums::default() }
    }

    #[test]
    fn no_line_is_wider_than_announced() {
        let standings = (0..200).map(|n| if n % 7 == 0 { Standing::Saved } else { Standing::AtOnce });

        let mut lines = head(&scene(), STYLE);
        lines.extend(body(standings, &sums(), Some("half-open"), STYLE));
        lines.extend(next(&scene(), true, STYLE));

        let widest = lines.iter().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= COLUMNS, "{} {widest}", widest.chars().count());
    }

    #[test]
    fn the_numbers_are_the_sums() {
        let text = body([].into_iter(), &sums(), None, STYLE).join("\n");

        let row = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("succeeded"), ["succeeded", "199", "99.5", "%", "170", "85.0", "%"]);
        assert_eq!(row("failed"), ["failed", "1", "0.5", "%", "30", "15.0", "%"]);
        assert_eq!(row("retries"), ["retries", "33", "saved", "29", "requests"]);
    }

    #[test]
    fn without_unicode_every_byte_is_ascii() {
        let style = Style { unicode: false, ..STYLE };
        let all = [Standing::Waiting, Standing::AtOnce, Standing::Saved, Standing::Failed];

        let mut lines = head(&scene(), style);
        lines.extend(body(all.into_iter(), &sums(), Some("closed"), style));
        lines.extend(next(&scene(), true, style));

        assert!(lines.concat().is_ascii());
    }
}
