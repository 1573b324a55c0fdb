//! The thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use exchange::clock;
use policy::Tick;

use super::queue::{Chunk, Queue, Work};
use crate::metrics::Events;

/// Between two messages about a sink that fails.
const QUIET: Duration = Duration::from_secs(60);

/// An open sink.
pub(super) struct Output {
    to: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    /// The last write may have ended within a line.
    torn: bool,
    complained: Option<Tick>,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self::new(Box::new(io::stdout()), None)
    }

    pub(super) fn file(path: PathBuf) -> io::Result<Self> {
        Ok(Self::new(Box::new(open(&path)?), Some(path)))
    }

    pub(super) fn new(to: Box<dyn Write + Send>, path: Option<PathBuf>) -> Self {
        Self { to, path, torn: false, complained: None }
    }

    /// Writes until the queue ends.
    pub(super) fn run(mut self, queue: &Queue, lost: &Events) {
        loop {
            match queue.next() {
                Work::Write(chunk) => {
                    if let Err(error) = self.write(&chunk) {
                        lost.log_dropped(chunk.lines);
                        self.complain("write", &error);
                    }
                    queue.recycle(chunk.bytes);
                }
                Work::Reopen => self.reopen(),
                Work::End => return,
            }
        }
    }

    fn write(&mut self, chunk: &Chunk) -> io::Result<()> {
        if std::mem::replace(&mut self.torn, true) {
            self.to.write_all(b"\n")?;
        }
        self.to.write_all(&chunk.bytes)?;
        self.to.flush()?;
        self.torn = false;
        Ok(())
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => {
                self.to = Box::new(file);
                self.torn = false;
            }
            Err(error) => self.complain("reopen", &error),
        }
    }

    fn complain(&mut self, what: &str, error: &io::Error) {
        let now = clock::now();
        if self.complained.is_none_or(|last| now.since(last) >= QUIET) {
            self.complained = Some(now);
            let path = self.path.as_deref().unwrap_or(Path::new("standard output")).display();
            tracing::error!(%error, %path, "cannot {what} the access log; lines are lost until that is repaired");
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// A disk with so many bytes left.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, left) = &mut *self.0.lock();
            let fits = bytes.len().min(*left);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend_from_slice(&bytes[..fits]);
            *left -= fits;
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn chunk(text: &str) -> Chunk {
        Chunk { bytes: text.into(), lines: 1 }
    }

    #[test]
    fn after_a_torn_line_the_next_one_begins_anew() {
        let disk = Disk::default();
        let mut output = Output::new(Box::new(disk.clone()), None);
        disk.0.lock().1 = 5;
        assert!(output.write(&chunk("first line\n")).is_err());
        assert!(output.write(&chunk("second line\n")).is_err());
        disk.0.lock().1 = 100;

        assert!(output.write(&chunk("third line\n")).is_ok());
        assert!(output.write(&chunk("fourth line\n")).is_ok());

        assert_eq!(disk.0.lock().0, b"first\nthird line\nfourth line\n");
    }

    #[test]
    fn one_message_a_minute_about_a_failing_sink() {
        let mut output = Output::new(Box::new(Disk::default()), None);
        let error = io::ErrorKind::StorageFull.into();
        output.complain("write", &error);
        let first = output.complained;
        output.complain("write", &error);
        assert_eq!(output.complained, first);

        let earlier = Tick::from_nanos(clock::now().as_nanos() - 60_000_000_000);
        output.complained = Some(earlier);
        output.complain("write", &error);

        assert!(output.complained > Some(earlier));
    }
}
