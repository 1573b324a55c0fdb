//! `ca`: the local authority of `intercept`, made, shown and given out. Its key leaves its file never.
//!
//! Which files: those of `ca` in the configuration, else the usual ones. They are written beside their place and then
//! put there whole, so nobody ever sees half of one, and the key's is nobody else's from its first byte on.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use config::model::Certificate;
use proxy::intercept::{self, Identity};
use serde_json::json;

use super::{out, source};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make the authority: a certificate for clients to trust, and its key for nobody else to read.
    Init {
        /// Replace one that exists; clients must then trust the new one.
        #[arg(long)]
        force: bool,
    },
    /// Show whose certificate it is, until when, and how clients are made to trust it.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the certificate, never the key.
    Export {
        /// How.
        #[arg(long, value_enum, default_value = "pem")]
        format: Format,
        /// Write it to a file instead.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Pem,
    Der,
}

pub(crate) fn run(file: Option<PathBuf>, args: &Args) -> ExitCode {
    let files = match source::Chosen::file(file).quietly() {
        Ok(loaded) => loaded.model.ca.unwrap_or_else(intercept::usual),
        Err(code) => return code,
    };
    let done = match &args.command {
        Command::Init { force } => init(&files, *force),
        Command::Show { json } => read(&files).map(|identity| show(&files, &identity, *json)),
        Command::Export { format, out } => read(&files).and_then(|identity| export(&identity, *format, out.as_deref())),
    };
    done.unwrap_or_else(|error| {
        out::failure(error);
        ExitCode::FAILURE
    })
}

fn read(files: &Certificate) -> Result<Identity, String> {
    Identity::read(&files.cert).map_err(|flaw| format!("{flaw}\n  {}", flaw.help))
}

fn init(files: &Certificate, force: bool) -> Result<ExitCode, String> {
    let made = intercept::generate()?;
    if let Some(there) = [&files.cert, &files.key].into_iter().find(|path| !force && path.exists()) {
        return Err(exists(there));
    }
    put(&files.key, made.key.as_bytes(), 0o600, force)?;
    if let Err(error) = put(&files.cert, made.certificate.as_bytes(), 0o644, force) {
        if !force {
            // Ours, and of no use alone.
            let _ = std::fs::remove_file(&files.key);
        }
        return Err(error);
    }
    let identity = read(files)?;
    let Certificate { cert, key } = files;
    out::message(format_args!(
        "wrote {} (for clients to trust) and {} (for nobody else)",
        cert.display(),
        key.display()
    ));
    out::message(format_args!("sha256 {}\n\n{}", identity.fingerprint, trust(cert)));
    Ok(ExitCode::SUCCESS)
}

fn exists(path: &Path) -> String {
    format!(
        "{} exists; `attache ca init --force` replaces it, and every client must then trust the new one",
        path.display()
    )
}

/// Puts a file in its place, whole and with this mode.
fn put(path: &Path, content: &[u8], mode: u32, force: bool) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(failed)?;
    // It begins with mode 0600, and only a certificate's is made wider.
    let mut file = tempfile::Builder::new().prefix(".attache-ca-").tempfile_in(dir).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    permit(file.as_file(), mode).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    let placed = if force { file.persist(path) } else { file.persist_noclobber(path) };
    placed.map(drop).map_err(|failure| match failure.error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => failed(failure.error),
    })
}

#[cfg(unix)]
fn permit(file: &File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn permit(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

fn show(files: &Certificate, identity: &Identity, json: bool) -> ExitCode {
    let Identity { subject, from, until, fingerprint, .. } = identity;
    let now = exchange::clock::calendar().as_secs();
    let days_left = until.saturating_sub(now) / (24 * 60 * 60);
    let Certificate { cert, key } = files;
    if json {
        return out::json(json!({
            "subject": subject,
            "sha256": fingerprint,
            "valid_from": from,
            "valid_until": until,
            "days_left": days_left,
            "valid": identity.is_valid(now),
            "cert": cert.display().to_string(),
            "key": key.display().to_string(),
        }));
    }
    let left = if identity.is_valid(now) { format!("{days_left} days left") } else { "not valid now".to_owned() };
    let date =
        |seconds: &u64| httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(*seconds));
    out::data(format_args!(
        "subject      {subject}\nvalid        {} to {} ({left})\nsha256       {fingerprint}\ncertificate  {}\nkey          {}\n\n{}",
        date(from),
        date(until),
        cert.display(),
        key.display(),
        trust(cert),
    ))
}

/// How clients are made to trust it.
fn trust(cert: &Path) -> String {
    let cert = cert.display();
    format!(
        "Whoever has the key can be any host to those who trust the certificate: keep it on this machine.\n\n\
         One client        curl --cacert {cert}\n\
         \u{20}                 NODE_EXTRA_CA_CERTS={cert} node app.js\n\
         Debian, Ubuntu    sudo cp {cert} /usr/local/share/ca-certificates/attache.crt && sudo update-ca-certificates\n\
         macOS             sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {cert}\n\
         Chromium (Linux)  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n attache -i {cert}\n\
         Firefox           Settings, Privacy & Security, View Certificates, Authorities, Import"
    )
}

fn export(identity: &Identity, format: Format, to: Option<&Path>) -> Result<ExitCode, String> {
    let content = match format {
        Format::Pem => identity.pem.as_bytes(),
        Format::Der => identity.der.as_ref(),
    };
    match to {
        None => Ok(out::bytes(content)),
        Some(path) => std::fs::write(path, content)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| format!("cannot write {}: {error}", path.display())),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_placed_whole_with_its_mode_and_never_over_another_without_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new").join("ca.key");

        put(&path, b"one", 0o600, false).unwrap();
        assert!(put(&path, b"two", 0o600, false).unwrap_err().contains("--force"));
        assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (b"one".to_vec(), 0o600));

        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        put(&path, b"three", 0o600, true).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (b"three".to_vec(), 0o600));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }
}
