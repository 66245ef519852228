//! Certificates of a test: an authority of its own, and one for the server.

use crate::netns::Net;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};

/// An authority and the files of a server.
#[derive(Debug)]
pub struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Certificates {
    /// Makes both; the server's holds its addresses on a [`Net`] of two clients.
    ///
    /// # Panics
    /// If the machine has no room for them.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "authority of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let folder = tempfile::tempdir().expect("a scratch folder");
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("room for a file");
        let all = Self { authority, folder };
        all.renew();
        all
    }

    /// Gives the server another certificate and key.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn renew(&self) {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["sip.example.com".into(), Net::server_ip(1), Net::server_ip(2)];
        let mut params = CertificateParams::new(names).expect("names and addresses");
        params.distinguished_name.push(DnType::CommonName, "sip.example.com");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        fs::write(self.key(), key.serialize_pem()).expect("room for a file");
        fs::write(self.certificate(), certificate.pem()).expect("room for a file");
    }

    /// The authority's file.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The file of the server's certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path("certificate.pem")
    }

    /// The file of its key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.path("key.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }

    /// The configuration that uses them, on the usual ports of the server's first address.
    #[must_use]
    pub fn config(&self) -> String {
        let server = Net::server_ip(1);
        format!(
            "[sip]\nlisten = [\"{server}:5060\"]\ntls_listen = [\"{server}\"]\n\
             ws_listen = [\"{server}\"]\nwss_listen = [\"{server}\"]\n\
             tls_certificate = {:?}\ntls_key = {:?}\nws_ping_s = 1\n\
             [engine]\nlinger_s = 10\n[registrar]\nalgorithms = [\"MD5\"]\n",
            self.certificate(),
            self.key()
        )
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}
