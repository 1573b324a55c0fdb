//! Where a process is: its control group, and by it its unit and its container.
//!
//! The unit is the first below the slices, as systemd itself counts: a user's own manager runs units of any name, but
//! below `user@1000.service`, and is that. A control group that is gone, or lies outside our view, says nothing.

use std::sync::Arc;

use super::Place;

/// Of a file in `/proc/PID`; more is not read.
const MOST: usize = 64 << 10;

/// Of the process with this number, as long as it has it.
pub(super) fn of(pid: u32) -> Option<Place> {
    let began = start(pid)?;
    let place = at(pid);
    // The number may have gone on to another process meanwhile.
    place.filter(|_| start(pid) == Some(began))
}

/// The same without a look at whether it still is that process.
pub(super) fn at(pid: u32) -> Option<Place> {
    let text = read(pid, "cgroup")?;
    let path = group(&text)?;
    Some(Place { pid: Some(pid), unit: unit(path), cgroup: Some(path.into()), container: container(path) })
}

/// When it began, in ticks since the machine did.
fn start(pid: u32) -> Option<u64> {
    let text = read(pid, "stat")?;
    // The name before may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn read(pid: u32, name: &str) -> Option<String> {
    let text = std::fs::read(format!("/proc/{pid}/{name}")).ok().filter(|bytes| bytes.len() <= MOST)?;
    String::from_utf8(text).ok()
}

/// The path that systemd keeps: of version 1 its own hierarchy, of version 2 the only one.
fn group(text: &str) -> Option<&str> {
    let named = text.lines().find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path));
    let only = || text.lines().find_map(|line| line.strip_prefix("0::"));
    let path = named.or_else(only)?;
    let is_within = path.starts_with('/') && !path.split('/').any(|segment| segment == "..");
    (is_within && path != "/" && !path.ends_with(" (deleted)")).then_some(path)
}

fn unit(path: &str) -> Option<Arc<str>> {
    let mut segments = path.split('/').skip(1).skip_while(|segment| segment.ends_with(".slice"));
    let unit = segments.next()?;
    (unit.ends_with(".service") || unit.ends_with(".scope")).then(|| unit.into())
}

/// The last segment that is an identifier, bare (`/docker/<id>`) or in a scope (`docker-<id>.scope`).
fn container(path: &str) -> Option<Arc<str>> {
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    path.rsplit('/').find_map(|segment| {
        let name = segment.strip_suffix(".scope").unwrap_or(segment);
        let id = name.rsplit(['-', ':']).next().unwrap_or(name);
        is_id(id).then(|| id.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_unit_is_the_systems_and_not_one_that_a_user_named() {
        for (path, expected) in [
            ("/system.slice/backup.service", Some("backup.service")),
            ("/system.slice/backup.service/worker", Some("backup.service")),
            ("/a.slice/a-b.slice/x@1.service", Some("x@1.service")),
            ("/user.slice/user-1000.slice/session-2.scope", Some("session-2.scope")),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/backup.service", Some("user@1000.service")),
            ("/mine/system.slice/backup.service", None),
            ("/system.slice", None),
            ("/init.scope", Some("init.scope")),
        ] {
            assert_eq!(unit(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_container_is_found_as_each_runtime_names_it() {
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
            format!("/kubepods/besteffort/pod1/{ID}"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/kubepods-pod1.slice:cri-containerd:{ID}"),
        ] {
            assert_eq!(container(&path).as_deref(), Some(ID), "{path}");
        }
        for path in ["/system.slice/docker.service".to_owned(), format!("/docker/{}", &ID[1..]), format!("/x/{ID}0")] {
            assert_eq!(container(&path), None, "{path}");
        }
    }

    #[test]
    fn a_control_group_that_is_gone_or_out_of_sight_says_nothing() {
        assert_eq!(group("1:name=systemd:/a.service\n0::/b\n"), Some("/a.service"));
        assert_eq!(group("3:cpu:/x\n0::/system.slice/b.service\n"), Some("/system.slice/b.service"));
        for text in ["0::/", "0::/../x", "0::/a/../../x", "0::/a.service (deleted)", "3:cpu:/x", ""] {
            assert_eq!(group(text), None, "{text}");
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_nowhere() {
        assert_eq!(of(u32::MAX - 1), None);
        assert!(start(std::process::id()).is_some());
    }
}
