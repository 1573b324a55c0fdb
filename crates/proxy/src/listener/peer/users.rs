//! Names of users and numbers of groups, from the system's own files.
//!
//! Read again when it changes, looked at once a second at most. Users from a directory service are not in it: a rule names
//! them by number.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::model::{Rights, User};
use exchange::clock;
use parking_lot::Mutex;
use policy::Tick;

const FILE: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";
const EVERY: Duration = Duration::from_secs(1);
/// What a larger file holds beyond it is not known.
const MOST: u64 = 4 << 20;

/// The names by number.
pub struct Users {
    file: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    looked: Option<Tick>,
    changed: Option<(SystemTime, u64)>,
    names: HashMap<u32, Arc<str>>,
}

impl Default for Users {
    fn default() -> Self {
        Self { file: FILE.into(), known: Mutex::default() }
    }
}

impl Users {
    /// The first name that has this number.
    pub fn name(&self, uid: u32) -> Option<Arc<str>> {
        let now = clock::now();
        let mut known = self.known.lock();
        if known.looked.is_none_or(|last| now.since(last) >= EVERY) {
            known.looked = Some(now);
            self.refresh(&mut known);
        }
        known.names.get(&uid).cloned()
    }

    /// Whether the user with this number is one of these.
    pub fn is_among(&self, uid: u32, users: &[User]) -> bool {
        users.iter().any(|user| match user {
            User::Uid(number) => *number == uid,
            User::Name(name) => self.name(uid).is_some_and(|own| *own == **name),
        })
    }

    fn refresh(&self, known: &mut Known) {
        let meta = std::fs::metadata(&self.file).ok();
        let changed = meta.and_then(|meta| Some((meta.modified().ok()?, meta.len()))).filter(|(_, size)| *size <= MOST);
        if changed != known.changed || changed.is_none() {
            known.changed = changed;
            let text = changed.and_then(|_| std::fs::read(&self.file).ok()).unwrap_or_default();
            known.names = names(&String::from_utf8_lossy(&text));
        }
    }
}

/// Gives a socket's file to others as `rights` say.
///
/// # Errors
/// A group that there is not, or the system's.
pub fn give(path: &Path, rights: &Rights) -> io::Result<()> {
    if let Some(group) = &rights.group {
        let number = group.parse().ok().or_else(|| number(&std::fs::read_to_string(GROUPS).ok()?, group));
        let number = number.ok_or_else(|| io::Error::other(format!("there is no group `{group}`")))?;
        std::os::unix::fs::chown(path, None, Some(number))?;
    }
    match rights.mode {
        Some(mode) => std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)),
        None => Ok(()),
    }
}

/// Of `name:x:gid:...`.
fn number(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// `name:x:uid:...`, a line each.
fn names(text: &str) -> HashMap<u32, Arc<str>> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok()))
            && !name.is_empty()
            && !name.starts_with('#')
        {
            names.entry(uid).or_insert_with(|| name.into());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_first_name_of_the_file() {
        let names =
            names("root:x:0:0::/root:/bin/sh\n#old:x:7:7:::\ntoor:x:0:0:::\nbad\n:x:9:9:::\nalice:x:1000:1000:A:/:/\n");

        let name = |uid| names.get(&uid).map(|name| &**name);
        assert_eq!((name(0), name(1000), name(7), name(9)), (Some("root"), Some("alice"), None, None));
    }

    #[test]
    fn a_group_that_there_is_not_is_an_error_and_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("socket");
        std::fs::write(&file, "").expect("written");
        let before = std::fs::metadata(&file).expect("there").permissions();

        let rights = Rights { mode: Some(0o666), group: Some("no-such-group-here".into()) };

        assert!(give(&file, &rights).is_err_and(|error| error.to_string().contains("no-such-group-here")));
        assert_eq!(std::fs::metadata(&file).expect("there").permissions(), before);
        assert_eq!(number("wheel:x:10:root\nstaff:x:50:\n", "staff"), Some(50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_after_a_second() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("passwd");
        let users = Users { file: file.clone(), known: Mutex::default() };
        assert_eq!(users.name(1000), None, "no file");

        std::fs::write(&file, "alice:x:1000:1000:::\n").expect("written");
        assert_eq!(users.name(1000), None, "not yet");
        tokio::time::advance(EVERY).await;
        assert_eq!(users.name(1000).as_deref(), Some("alice"));
        std::fs::write(&file, "renamed:x:1000:1000:::\n").expect("written");
        tokio::time::advance(EVERY).await;
        assert_eq!(users.name(1000).as_deref(), Some("renamed"));
    }
}
