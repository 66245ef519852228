//! Certificates, keys and authorities out of files.

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::client::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Tickets for the resumption of a session, given to each client at the end of a handshake.
const TICKETS: usize = 1;

/// Which files hold what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate with those between it and its authority, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Authorities of the certificates of peers that connect to us, PEM.
    pub client_ca: Option<PathBuf>,
    /// Whether peers without such a certificate are refused.
    pub client_required: bool,
    /// Authorities of the peers that we connect to, PEM; `None` for the system's.
    pub ca: Option<PathBuf>,
    /// Whether the certificates of peers that we connect to are looked at.
    pub verify: bool,
}

impl TlsFiles {
    /// All files that are named.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key, &self.client_ca, &self.ca]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key} = \"{}\" cannot be read: {error}", path.display())]
    Read {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file has no PEM block of the right kind.
    #[error("{key} = \"{}\" holds no {wanted} in PEM form (-----BEGIN …)", path.display())]
    Empty {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A file is not what it should be.
    #[error("{key} = \"{}\" cannot be used: {reason}", path.display())]
    Unusable {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key is of another certificate.
    #[error(
        "sip.tls_key = \"{}\" does not belong to the certificate of sip.tls_certificate = \"{}\": \
         give the key that the certificate was made for, and the own certificate as the first one \
         of its file", key.display(), certificate.display()
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
}

/// The settings of new connections; replaced as a whole when the files change.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    /// For those who connect by TLS; `None` without a certificate.
    pub(in crate::net) server: ArcSwapOption<ServerConfig>,
    /// For those who connect by secure WebSocket, who have no certificate to show.
    pub(in crate::net) web: ArcSwapOption<ServerConfig>,
    /// For connections that we open.
    pub(in crate::net) client: ArcSwap<ClientConfig>,
}

/// What was read.
struct Loaded {
    server: Option<Arc<ServerConfig>>,
    web: Option<Arc<ServerConfig>>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the key of the configuration and the file.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let Loaded { server, web, client } = load(&files)?;
        Ok(Self {
            files,
            server: ArcSwapOption::new(server),
            web: ArcSwapOption::new(web),
            client: ArcSwap::new(client),
        })
    }

    /// The files.
    #[must_use]
    pub const fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Reads the files again; connections that stand keep what they have.
    ///
    /// # Errors
    /// As [`Self::load`]; then all stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let Loaded { server, web, client } = load(&self.files)?;
        self.server.store(server);
        self.web.store(web);
        self.client.store(client);
        Ok(())
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let own = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => Some(Own::load(certificate, key)?),
        _ => None,
    };
    let (mut server, mut web) = (None, None);
    if let Some(own) = &own {
        web = Some(Arc::new(own.server(&provider, None)?));
        server = match &files.client_ca {
            None => web.clone(),
            Some(_) => Some(Arc::new(own.server(&provider, Some(files))?)),
        };
    }
    let client = Arc::new(client(&provider, files, own)?);
    Ok(Loaded { server, web, client })
}

/// Our certificate and its key.
struct Own {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certificate_file: PathBuf,
    key_file: PathBuf,
}

impl Own {
    fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates("sip.tls_certificate", certificate)?;
        let octets = read("sip.tls_key", key)?;
        let key_der = PrivateKeyDer::from_pem_slice(&octets).map_err(|_| TlsError::Empty {
            key: "sip.tls_key",
            path: key.to_owned(),
            wanted: "private key without a pass phrase",
        })?;
        let (certificate_file, key_file) = (certificate.to_owned(), key.to_owned());
        Ok(Self { chain, key: key_der, certificate_file, key_file })
    }

    fn explain(&self, error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                certificate: self.certificate_file.clone(),
                key: self.key_file.clone(),
            },
            rustls::Error::InvalidCertificate(_) => TlsError::Unusable {
                key: "sip.tls_certificate",
                path: self.certificate_file.clone(),
                reason: error.to_string(),
            },
            _ => TlsError::Unusable {
                key: "sip.tls_key",
                path: self.key_file.clone(),
                reason: error.to_string(),
            },
        }
    }

    /// The side that is connected to; with `files` it asks for certificates.
    fn server(
        &self,
        provider: &Arc<CryptoProvider>,
        files: Option<&TlsFiles>,
    ) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.explain(&error))?;
        let asks = files.and_then(|files| Some((files, files.client_ca.as_ref()?)));
        let builder = match asks {
            None => builder.with_no_client_auth(),
            Some((files, ca)) => {
                let roots = Arc::new(authorities("sip.tls_client_ca", ca)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
                let verifier = match files.client_required {
                    true => verifier,
                    false => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| {
                    TlsError::Unusable {
                        key: "sip.tls_client_ca",
                        path: ca.clone(),
                        reason: error.to_string(),
                    }
                })?)
            }
        };
        let mut config = builder
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| self.explain(&error))?;
        // Who comes again brings what is needed: nothing is remembered here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(|error| self.explain(&error))?;
        config.send_tls13_tickets = TICKETS;
        Ok(config)
    }
}

/// The side that connects; it shows our certificate to who asks for one.
fn client(
    provider: &Arc<CryptoProvider>,
    files: &TlsFiles,
    own: Option<Own>,
) -> Result<ClientConfig, TlsError> {
    let unusable = |error: rustls::Error| TlsError::Unusable {
        key: "sip.tls_ca",
        path: files.ca.clone().unwrap_or_default(),
        reason: error.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = if files.verify {
        let roots = match &files.ca {
            Some(ca) => authorities("sip.tls_ca", ca)?,
            None => system_roots(),
        };
        builder.with_root_certificates(roots)
    } else {
        let any = AnyCertificate(provider.signature_verification_algorithms);
        builder.dangerous().with_custom_certificate_verifier(Arc::new(any))
    };
    match own {
        None => Ok(builder.with_no_client_auth()),
        Some(own) => builder
            .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
            .map_err(|error| own.explain(&error)),
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read { key, path: path.to_owned(), error })
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let octets = read(key, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(|| TlsError::Empty {
        key,
        path: path.to_owned(),
        wanted: "certificate",
    })
}

fn authorities(key: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(|error| TlsError::Unusable {
            key,
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// The system's authorities; without any, connections that we open are refused by our own check.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        tracing::info!(
            "the system has no certificate authorities (package ca-certificates): TLS to other \
             servers needs sip.tls_ca"
        );
    }
    roots
}

/// Takes any certificate: the connection is secret, but who is at the other end is not known.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
