//! Where clients connect, and how.
//!
//! What the certificates' files hold is not known here: who builds the listeners reads them, and tells what is wrong
//! with them in the place of their key.

use super::Check;
use crate::fields::Fields;
use crate::keys::{CERTIFICATE, LISTENER, LISTENER_TLS};
use crate::model::{Address, Certificate, ClientAuth, Listener, ListenerTls, TlsVersion};
use crate::values;

impl Check<'_> {
    pub(super) fn listeners(&mut self, root: &Fields<'_>) -> Vec<Listener> {
        let items = root.list("listen");
        if items.is_empty() && root.node("listen").is_some() {
            let help = "write at least one address: `127.0.0.1:4780`";
            self.report.error("bad-value", root.place("listen"), "nothing to listen on", help);
        }
        items.iter().filter_map(|item| self.listener(&Fields::of(item, &LISTENER))).collect()
    }

    fn listener(&mut self, fields: &Fields<'_>) -> Option<Listener> {
        let address = fields.parse("address", values::address)?;
        let clients = fields.all("clients", values::net);
        if matches!(address, Address::Unix(_)) && !fields.list("clients").is_empty() {
            let message = "`clients` has no effect on a unix socket: the rights of its file decide";
            self.report.error("misplaced-key", fields.key("clients"), message, "remove it");
        }
        if let Address::Tcp(socket) = &address
            && !socket.ip().to_canonical().is_loopback()
            && fields.list("clients").is_empty()
        {
            let message = format!("`{socket}` is reachable from other machines and anyone could use it");
            let help = format!("say who may connect: `{{address: \"{socket}\", clients: [10.0.0.0/8]}}`");
            self.report.error("open-listener", fields.place("address"), message, help);
        }
        let tls = fields.table("tls", &LISTENER_TLS).and_then(|tls| self.listener_tls(&tls));
        let rights = self.rights(fields, matches!(address, Address::Unix(_)));
        Some(Listener { address, rights, clients, tls })
    }

    fn listener_tls(&mut self, fields: &Fields<'_>) -> Option<ListenerTls> {
        let certificates = self.certificates(fields);
        let ca = fields.parse("client_ca", values::file);
        let client_auth = match (fields.text("client_auth"), ca) {
            (None, None) | (Some("off"), None) => ClientAuth::Off,
            (Some("off"), Some(_)) => {
                self.no_effect(fields, "client_ca", "`client_auth: off` asks no client for a certificate");
                ClientAuth::Off
            }
            (Some("optional"), Some(ca)) => ClientAuth::Optional(ca),
            (_, Some(ca)) => ClientAuth::Required(ca),
            (Some(asked), None) => {
                let message = format!("`client_auth: {asked}` without `client_ca`");
                let help = "add `client_ca`, the bundle that signs the clients' certificates";
                // One that was refused has been told of.
                if !fields.written("client_ca") {
                    self.report.error("incomplete-tls", fields.key("client_auth"), message, help);
                }
                ClientAuth::Off
            }
        };
        let min = if fields.text("min") == Some("1.3") { TlsVersion::V13 } else { TlsVersion::V12 };
        (!certificates.is_empty()).then_some(ListenerTls { certificates, client_auth, min })
    }

    /// One pair in the short form, or a list of them.
    fn certificates(&mut self, fields: &Fields<'_>) -> Vec<Certificate> {
        let (cert, key, many) = (fields.written("cert"), fields.written("key"), fields.written("certificates"));
        let all = fields.list("certificates").iter().filter_map(|item| pair(&Fields::of(item, &CERTIFICATE)));
        let all: Vec<_> = pair(fields).into_iter().chain(all).collect();
        match (cert, key, many) {
            (true, false, false) => self.half(fields, "cert", "key"),
            (false, true, false) => self.half(fields, "key", "cert"),
            (true, _, true) => self.both(fields, "cert"),
            (_, true, true) => self.both(fields, "key"),
            (false, false, false) => {
                let help = "add `cert` and `key`, the paths of PEM files";
                self.report.error("missing-key", fields.at, "no certificate to show to clients", help);
            }
            (false, false, true) if fields.list("certificates").is_empty() && fields.node("certificates").is_some() => {
                let help = "write at least one `{cert: ..., key: ...}`";
                self.report.error("bad-value", fields.place("certificates"), "no certificate to show to clients", help);
            }
            _ => {}
        }
        all
    }

    pub(super) fn half(&mut self, fields: &Fields<'_>, given: &'static str, missing: &str) {
        let message = format!("`{given}` without `{missing}`");
        self.report.error("incomplete-tls", fields.key(given), message, format!("add `{missing}`"));
    }

    fn both(&mut self, fields: &Fields<'_>, one: &'static str) {
        let message = format!("`{one}` and `certificates` both say what to show to clients");
        self.report.error("exclusive-keys", fields.key(one), message, "move it into `certificates`");
    }

    /// A limit on handshakes where there are none.
    pub(super) fn handshake(&mut self, server: &Fields<'_>, listen: &[Listener], opens: bool) {
        if server.written("tls_handshake") && !opens && listen.iter().all(|listener| listener.tls.is_none()) {
            self.no_effect(server, "tls_handshake", "no listener has `tls`, and nothing is intercepted");
        }
    }
}

/// The files of a certificate and its key.
pub(super) fn pair(fields: &Fields<'_>) -> Option<Certificate> {
    let (cert, key) = (fields.parse("cert", values::file), fields.parse("key", values::file));
    cert.zip(key).map(|(cert, key)| Certificate { cert, key })
}
