//! `process_*` from `/proc`, read as text at the scrape; nothing where there is no `/proc`.
//!
//! The clock tick is taken to be 1/100 s, which it is on every Linux in use but can only be asked of libc.

use std::fs;

const TICKS_PER_SECOND: f64 = 100.0;

/// What Prometheus client libraries report of their process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    /// Unix time in seconds.
    pub(super) started: f64,
    pub(super) resident_bytes: f64,
    pub(super) virtual_bytes: f64,
    pub(super) threads: f64,
    pub(super) open_fds: f64,
    /// Infinite if unlimited.
    pub(super) max_fds: f64,
}

/// Reads it all, or nothing.
pub(super) fn read() -> Option<Process> {
    let text = |path: &str| fs::read_to_string(path).ok();
    let (ticks, started) = times(&text("/proc/self/stat")?)?;
    let status = text("/proc/self/status")?;
    Some(Process {
        cpu_seconds: ticks / TICKS_PER_SECOND,
        started: field(&text("/proc/stat")?, "btime")? + started / TICKS_PER_SECOND,
        resident_bytes: field(&status, "VmRSS:")? * 1024.0,
        virtual_bytes: field(&status, "VmSize:")? * 1024.0,
        threads: field(&status, "Threads:")?,
        // One of them is the directory that is being read.
        open_fds: fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64,
        max_fds: field(&text("/proc/self/limits")?, "Max open files")?,
    })
}

/// CPU time and start, in ticks, of `stat`. The second field is the program's name in parentheses and may hold
/// anything, parentheses too.
fn times(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<f64>().ok();
    Some((field(14)? + field(15)?, field(22)?))
}

/// The first number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    match text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_any_name() {
        let stat = "42 (a) b) 1 (c) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 17 18 9000 20 21";

        assert_eq!(times(stat), Some((200.0, 9000.0)));
    }

    #[test]
    fn reads_the_first_number_of_a_line() {
        let text =
            "VmSize:\t  100 kB\nVmRSS:\t  64 kB\nMax open files            1024                 4096      files\n";

        assert_eq!(field(text, "VmRSS:"), Some(64.0));
        assert_eq!(field(text, "Max open files"), Some(1024.0));
        assert_eq!(field("Max open files unlimited unlimited files", "Max open files"), Some(f64::INFINITY));
        assert_eq!(field(text, "Threads:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_plausible() {
        let process = read().expect("there is a /proc");

        assert!(process.threads >= 1.0 && process.open_fds >= 3.0, "{process:?}");
        assert!(process.resident_bytes > 1e5 && process.virtual_bytes >= process.resident_bytes, "{process:?}");
        assert!(process.max_fds >= process.open_fds && process.started > 1.7e9, "{process:?}");
    }
}
