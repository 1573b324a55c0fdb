//! Where the authority lies, and who else could read its key.
//!
//! Whoever reads that key can be any host to everybody who trusts the certificate, so a key that others may read is
//! refused rather than warned of. What is looked at is the file that was opened, whatever lay there before.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use config::model::Certificate;

use crate::listener::tls::{Flaw, Part};

/// What to do about most of it.
pub(super) const MAKE: &str = "make one with `attache ca init`, or turn `intercept` off";
/// No certificate and no key is longer.
const MAX_BYTES: u64 = 256 * 1024;
/// For a service of the system.
const SHARED: &str = "/var/lib/attache";

/// Where `attache ca init` writes and `intercept` reads unless `ca` says otherwise: `ca.crt` and `ca.key` in
/// `/var/lib/attache` for root and for a user without a home, else in `$XDG_DATA_HOME/attache`, which is
/// `~/.local/share/attache` unless it is set.
pub fn usual() -> Certificate {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    at(is_root(), absolute("XDG_DATA_HOME"), absolute("HOME"))
}

fn at(root: bool, data: Option<PathBuf>, home: Option<PathBuf>) -> Certificate {
    let own = data.or_else(|| Some(home?.join(".local").join("share"))).filter(|_| !root);
    let dir = own.map_or_else(|| PathBuf::from(SHARED), |data| data.join("attache"));
    Certificate { cert: dir.join("ca.crt"), key: dir.join("ca.key") }
}

/// Reads a certificate.
pub(super) fn certificate(path: &Path) -> Result<Vec<u8>, Flaw> {
    read(path).map(|(text, _)| text)
}

/// Reads a key that nobody else can read.
pub(super) fn key(path: &Path) -> Result<Vec<u8>, Flaw> {
    let (text, file) = read(path)?;
    guarded(path, &file)?;
    Ok(text)
}

fn read(path: &Path) -> Result<(Vec<u8>, File), Flaw> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            Flaw::new(Part::Authority, path, "is not there: interception needs an authority", MAKE)
        }
        io::ErrorKind::PermissionDenied => {
            let help = "make one with `attache ca init` as the user that runs this";
            Flaw::new(Part::Authority, path, format!("cannot be read: {error}"), help)
        }
        _ => Flaw::new(Part::Authority, path, format!("cannot be read: {error}"), "check the path"),
    };
    // A pipe would be waited for.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Flaw::new(Part::Authority, path, "is not a regular file", "name a PEM file"));
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    (&file).take(MAX_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Flaw::new(Part::Authority, path, format!("is longer than {MAX_BYTES} bytes"), "name a PEM file"));
    }
    Ok((text, file))
}

#[cfg(unix)]
fn guarded(path: &Path, file: &File) -> Result<(), Flaw> {
    use std::os::unix::fs::MetadataExt;

    let flaw = |why: String, help: &str| Flaw::new(Part::Authority, path, why, help);
    let meta = file.metadata().map_err(|error| flaw(format!("cannot be looked at: {error}"), MAKE))?;
    let us = rustix::process::geteuid().as_raw();
    owned(meta.mode() & 0o777, meta.uid(), us).map_err(|(why, help)| flaw(why, help))
}

/// Whether a key's file with this mode and owner is ours alone; why not, and what helps.
#[cfg(unix)]
fn owned(mode: u32, owner: u32, us: u32) -> Result<(), (String, &'static str)> {
    if mode & 0o077 != 0 {
        let help = "make another with `attache ca init --force` if anybody may have read it, else `chmod 600` it";
        return Err((format!("has mode {mode:03o}: others could read this authority's key"), help));
    }
    if owner != us {
        let help = "make one with `attache ca init` as the user that runs this";
        return Err((format!("belongs to uid {owner}, and this runs as uid {us}"), help));
    }
    Ok(())
}

#[cfg(not(unix))]
fn guarded(_: &Path, _: &File) -> Result<(), Flaw> {
    Ok(())
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_one_of_their_own_and_a_service_of_the_system_the_shared_one() {
        let path = |text: &str| Some(PathBuf::from(text));
        let key = |root, data, home| at(root, data, home).key.display().to_string();

        assert_eq!(key(false, path("/d"), path("/home/u")), "/d/attache/ca.key");
        assert_eq!(key(false, None, path("/home/u")), "/home/u/.local/share/attache/ca.key");
        assert_eq!(key(false, None, None), "/var/lib/attache/ca.key");
        assert_eq!(key(true, path("/d"), path("/root")), "/var/lib/attache/ca.key");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_could_read_is_refused_and_no_word_of_it_is_said() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ca.key");
        std::fs::write(&path, "s3cret").expect("written");
        let with = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
            key(&path)
        };

        for mode in [0o644, 0o640, 0o604, 0o610, 0o660, 0o601] {
            let flaw = with(mode).expect_err("refused");
            assert!(flaw.why.contains(&format!("{mode:03o}")), "{flaw}");
            assert!(!format!("{flaw:?}").contains("s3cret"));
        }
        for mode in [0o600, 0o400] {
            assert_eq!(with(mode).expect("read"), b"s3cret");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_of_somebody_else_is_refused_even_if_it_can_be_read() {
        assert_eq!(owned(0o600, 1000, 1000), Ok(()));
        for (owner, us) in [(1000, 0), (0, 1000), (1000, 1001)] {
            let (why, _) = owned(0o600, owner, us).expect_err("refused");
            assert!(why.contains(&format!("uid {owner}")), "{why}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_the_way_to_make_it() {
        let flaw = key(Path::new("/nowhere/ca.key")).expect_err("nothing");

        assert!(flaw.help.contains("attache ca init"), "{flaw:?}");
    }
}
