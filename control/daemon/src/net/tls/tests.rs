//! Sessions of both sides against each other, and the errors of files.

use super::files::{Tls, TlsFiles};
use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::HandshakeKind;
use std::fs;
use std::path::Path;

/// A certificate authority.
pub(in crate::net) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(in crate::net) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `certificate.pem`, `key.pem` and `ca.pem`.
    pub(in crate::net) fn write(&self, folder: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let names = vec![name.to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
        fs::write(folder.join("ca.pem"), self.0.pem()).unwrap();
    }
}

/// The files that [`Authority::write`] writes.
pub(in crate::net) fn files(folder: &Path) -> TlsFiles {
    TlsFiles {
        certificate: Some(folder.join("certificate.pem")),
        key: Some(folder.join("key.pem")),
        client_ca: None,
        client_required: true,
        ca: Some(folder.join("ca.pem")),
        verify: true,
    }
}

/// What both sides are and what is on its way to them.
struct Pair {
    server: Session,
    client: Session,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Pair {
    fn new(tls: &Tls, name: &str) -> Self {
        let server = Session::server(tls.server.load_full().unwrap()).unwrap();
        let name = server_name(Some(name), IpAddr::from([127, 0, 0, 1])).unwrap();
        let mut client = Session::client(tls.client.load_full(), name).unwrap();
        let mut to_server = Vec::new();
        client.flush(&mut to_server);
        Self { server, client, to_server, to_client: Vec::new() }
    }

    /// Delivers in pieces of `size` until nothing is on its way; what each side got in clear.
    fn run(&mut self, size: usize) -> Result<(Vec<u8>, Vec<u8>), CloseReason> {
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        while !self.to_server.is_empty() || !self.to_client.is_empty() {
            for piece in core::mem::take(&mut self.to_server).chunks(size) {
                self.server.receive(piece, &mut at_server, &mut self.to_client)?;
            }
            for piece in core::mem::take(&mut self.to_client).chunks(size) {
                self.client.receive(piece, &mut at_client, &mut self.to_server)?;
            }
        }
        Ok((at_server, at_client))
    }
}

fn folder_with_files(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    Authority::new().write(folder.path(), name);
    folder
}

#[test]
fn what_is_sent_before_the_handshake_arrives_after_it_in_any_fragmentation() {
    let folder = folder_with_files("sip.example.com");
    let tls = Tls::load(files(folder.path())).unwrap();
    let message = vec![b'x'; 40_000];
    for size in [1, 7, 1000, 100_000] {
        let mut pair = Pair::new(&tls, "sip.example.com");
        pair.client.send(&message, &mut pair.to_server).unwrap();
        assert!(pair.server.is_handshaking());
        let (at_server, _) = pair.run(size).unwrap();
        assert_eq!(at_server, message, "pieces of {size}");
        assert!(!pair.server.is_handshaking() && !pair.server.has_certificate());
        pair.server.send(b"answer", &mut pair.to_client).unwrap();
        assert_eq!(pair.run(size).unwrap().1, b"answer");
        let mut end = Vec::new();
        pair.client.end(&mut end);
        assert_eq!(pair.server.receive(&end, &mut Vec::new(), &mut Vec::new()), Ok(true));
    }
}

#[test]
fn a_peer_must_have_the_name_it_was_looked_up_by() {
    let folder = folder_with_files("sip.example.com");
    let tls = Tls::load(files(folder.path())).unwrap();
    assert_eq!(Pair::new(&tls, "sip.example.org").run(4096), Err(CloseReason::Tls));
    let careless = Tls::load(TlsFiles { verify: false, ..files(folder.path()) }).unwrap();
    assert!(Pair::new(&careless, "sip.example.org").run(4096).is_ok());
    // Another authority.
    Authority::new().write(folder.path(), "sip.example.com");
    let mut pair = Pair::new(&tls, "sip.example.com");
    tls.reload().unwrap();
    pair.server = Session::server(tls.server.load_full().unwrap()).unwrap();
    assert_eq!(pair.run(4096), Err(CloseReason::Tls));
}

#[test]
fn peers_prove_who_they_are_where_that_is_asked() {
    let folder = folder_with_files("sip.example.com");
    let own = files(folder.path());
    let tls = Tls::load(TlsFiles { client_ca: own.ca.clone(), ..own.clone() }).unwrap();
    let mut pair = Pair::new(&tls, "sip.example.com");
    pair.run(4096).unwrap();
    let is = |name: &str| {
        pair.server.peer_is(&server_name(Some(name), IpAddr::from([127, 0, 0, 1])).unwrap())
    };
    assert!(pair.server.has_certificate() && is("sip.example.com") && !is("sip.example.org"));
    // A client without a certificate.
    let bare = TlsFiles { certificate: None, key: None, ..own.clone() };
    let anonymous = Tls::load(bare).unwrap().client;
    let enter = |tls: &Tls| {
        let mut pair = Pair::new(tls, "sip.example.com");
        let name = server_name(Some("sip.example.com"), IpAddr::from([127, 0, 0, 1])).unwrap();
        pair.client = Session::client(anonymous.load_full(), name).unwrap();
        pair.to_server.clear();
        pair.client.flush(&mut pair.to_server);
        pair.run(4096).map(drop)
    };
    assert_eq!(enter(&tls), Err(CloseReason::Tls));
    let optional = TlsFiles { client_required: false, client_ca: own.ca.clone(), ..own };
    assert_eq!(enter(&Tls::load(optional).unwrap()), Ok(()));
}

#[test]
fn who_comes_again_resumes_without_state_here() {
    let folder = folder_with_files("sip.example.com");
    let tls = Tls::load(files(folder.path())).unwrap();
    for again in [false, true] {
        let mut pair = Pair::new(&tls, "sip.example.com");
        pair.run(4096).unwrap();
        let resumed = pair.server.0.handshake_kind() == Some(HandshakeKind::Resumed);
        assert_eq!(resumed, again);
    }
}

#[test]
fn nonsense_is_answered_with_an_alert() {
    let folder = folder_with_files("sip.example.com");
    let tls = Tls::load(files(folder.path())).unwrap();
    let mut session = Session::server(tls.server.load_full().unwrap()).unwrap();
    let mut wire = Vec::new();
    let result = session.receive(b"REGISTER sip:tandem SIP/2.0\r\n", &mut Vec::new(), &mut wire);
    assert_eq!((result, wire.first()), (Err(CloseReason::Tls), Some(&21)));
}

#[test]
fn errors_name_the_key_and_the_file() {
    let folder = folder_with_files("sip.example.com");
    let good = files(folder.path());
    let text = |files: TlsFiles| Tls::load(files).unwrap_err().to_string();
    let gone = text(TlsFiles { key: Some(folder.path().join("gone.pem")), ..good.clone() });
    assert!(gone.contains("sip.tls_key") && gone.contains("gone.pem"), "{gone}");
    let swapped = text(TlsFiles { certificate: good.key.clone(), ..good.clone() });
    assert!(swapped.contains("sip.tls_certificate") && swapped.contains("no certificate"));
    let other = folder_with_files("sip.example.com");
    let mismatch = text(TlsFiles { key: files(other.path()).key, ..good.clone() });
    assert!(mismatch.contains("does not belong to the certificate"), "{mismatch}");
    fs::write(folder.path().join("bad.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    let bad = text(TlsFiles { client_ca: Some(folder.path().join("bad.pem")), ..good });
    assert!(bad.contains("sip.tls_client_ca"), "{bad}");
}
