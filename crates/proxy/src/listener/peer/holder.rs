//! Which process holds a socket: a walk through the open files of all processes that we may look at.
//!
//! A socket may have several holders, a server and its children for example. They all must be in the same control group;
//! otherwise nobody can tell which of them sends, and where it comes from is unknown. The walk ends after a time, and then
//! it is unknown as well.

use std::time::Duration;

use exchange::clock;

use super::{Place, place};

/// For one walk.
const PATIENCE: Duration = Duration::from_millis(250);

/// Where the processes are that hold this socket.
pub(super) fn find(inode: u64) -> Option<Place> {
    let wanted = format!("socket:[{inode}]");
    let until = clock::now() + PATIENCE;
    let mut found: Option<Place> = None;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if clock::now() > until {
            return None;
        }
        if !holds(pid, &wanted) {
            continue;
        }
        let place = place::at(pid).unwrap_or(Place { pid: Some(pid), ..Place::default() });
        // If the number had gone to another process meanwhile, that one would not hold it.
        if !holds(pid, &wanted) {
            return None;
        }
        match &found {
            Some(before) if before.cgroup != place.cgroup => return None,
            Some(_) => {}
            None => found = Some(place),
        }
    }
    found
}

fn holds(pid: u32, wanted: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_holder_of_a_socket_of_ours_is_this_process() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let link = std::fs::read_link(format!("/proc/self/fd/{}", one.as_raw_fd())).expect("a link");
        let inode = link.to_string_lossy().trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number");

        assert_eq!(find(inode).and_then(|place| place.pid), Some(std::process::id()));
        assert_eq!(find(u64::MAX), None);
    }
}
