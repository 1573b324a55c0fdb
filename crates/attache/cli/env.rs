//! `env`: the variables that send clients through the running proxy, in the words of a shell.
//!
//! The address is the first TCP one of the configuration; whether a proxy listens there is not asked. `--unset` gives
//! the owner's NO_PROXY and JAVA_TOOL_OPTIONS back instead of emptying them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use config::model::{Address, Model};
use serde_json::{Map, Value};

use super::{out, source, variables};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Words to print them in.
    #[arg(long, value_enum, default_value_t = Shell::Sh)]
    shell: Shell,
    /// Print what takes the variables back.
    #[arg(long)]
    unset: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// sh, bash, zsh: eval "$(attache env)"
    Sh,
    /// attache env --shell fish | source
    Fish,
    /// attache env --shell powershell | Out-String | Invoke-Expression
    Powershell,
    /// One object of names and values.
    Json,
    /// A file for docker run --env-file; the host is host.docker.internal.
    Docker,
}

pub(crate) fn run(file: Option<PathBuf>, args: &Args) -> ExitCode {
    let changes: Vec<(&str, Option<String>)> = if args.unset {
        variables::unset(&variables::inherited)
    } else {
        let loaded = match source::Chosen::file(file).load() {
            Ok(loaded) => loaded,
            Err(code) => return code,
        };
        match set(&loaded.model, args.shell) {
            Ok(all) => all.into_iter().map(|(name, value)| (name, Some(value))).collect(),
            Err(error) => {
                out::failure(error);
                return ExitCode::FAILURE;
            }
        }
    };
    if args.shell == Shell::Json {
        let value = |(name, value): (&str, Option<String>)| (name.to_owned(), value.map_or(Value::Null, Value::String));
        let all: Map<String, Value> = changes.into_iter().map(value).collect();
        return out::json(serde_json::json!({"env": all}));
    }
    let lines: Vec<String> =
        changes.iter().filter_map(|(name, value)| line(args.shell, name, value.as_deref())).collect();
    out::data(lines.join("\n"))
}

fn set(model: &Model, shell: Shell) -> Result<Vec<(&'static str, String)>, String> {
    // A proxy that speaks TLS is for clients that were told so one by one.
    let address =
        model.listen.iter().filter(|listener| listener.tls.is_none()).find_map(|listener| match listener.address {
            Address::Tcp(address) => Some(variables::reachable(address)),
            Address::Unix(_) => None,
        });
    let address =
        address.ok_or("no plain TCP address is configured in `listen`, and clients cannot use a unix socket or TLS")?;
    if address.port() == 0 {
        return Err("`listen` has port 0, so the address is only known to the proxy; configure a port".to_owned());
    }
    if shell != Shell::Docker {
        return Ok(variables::set(&address.ip().to_string(), address.port(), &variables::inherited));
    }
    if address.ip().is_loopback() {
        out::message(
            "note: on Linux a container cannot reach the host's loopback: let the proxy listen on the bridge too, as in \
             `listen: [127.0.0.1:4780, {address: 172.17.0.1:4780, clients: [172.16.0.0/12]}]`, and give the container \
             --add-host=host.docker.internal:host-gateway",
        );
    }
    // The host's own settings mean nothing inside a container.
    Ok(variables::set("host.docker.internal", address.port(), &|_| None))
}

/// One statement; `None` where the language has none for it.
fn line(shell: Shell, name: &str, value: Option<&str>) -> Option<String> {
    Some(match (shell, value) {
        (Shell::Sh, Some(value)) => format!("export {name}={}", quoted(value, "'\\''")),
        (Shell::Sh, None) => format!("unset {name}"),
        (Shell::Fish, Some(value)) => format!("set -gx {name} {}", quoted(&value.replace('\\', "\\\\"), "\\'")),
        (Shell::Fish, None) => format!("set -e {name}"),
        (Shell::Powershell, Some(value)) => format!("$Env:{name} = {}", quoted(value, "''")),
        (Shell::Powershell, None) => format!("Remove-Item Env:{name} -ErrorAction SilentlyContinue"),
        (Shell::Docker, Some(value)) => format!("{name}={value}"),
        (Shell::Docker, None) => format!("{name}="),
        (Shell::Json, _) => return None,
    })
}

/// In single quotes, with `quote` for each one inside; bare when no shell would look twice at it.
fn quoted(value: &str, quote: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "._-:/,".contains(c);
    if quote != "''" && !value.is_empty() && value.chars().all(bare) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_gets_its_own_quoting() {
        let value = Some("-Da=it's|b");

        assert_eq!(line(Shell::Sh, "X", value).unwrap(), r"export X='-Da=it'\''s|b'");
        assert_eq!(line(Shell::Fish, "X", value).unwrap(), r"set -gx X '-Da=it\'s|b'");
        assert_eq!(line(Shell::Powershell, "X", value).unwrap(), "$Env:X = '-Da=it''s|b'");
        assert_eq!(line(Shell::Docker, "X", value).unwrap(), "X=-Da=it's|b");
    }

    #[test]
    fn plain_values_stay_bare_except_in_powershell() {
        assert_eq!(line(Shell::Sh, "X", Some("http://127.0.0.1:1")).unwrap(), "export X=http://127.0.0.1:1");
        assert_eq!(line(Shell::Powershell, "X", Some("1")).unwrap(), "$Env:X = '1'");
        assert_eq!(line(Shell::Sh, "X", Some("")).unwrap(), "export X=''");
    }

    #[test]
    fn unset_is_a_statement_of_its_own() {
        assert_eq!(line(Shell::Sh, "X", None).unwrap(), "unset X");
        assert_eq!(line(Shell::Fish, "X", None).unwrap(), "set -e X");
    }
}
