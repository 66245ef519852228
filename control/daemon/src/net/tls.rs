//! TLS of one connection: octets of the wire in, octets in clear out, and back.

pub(super) mod files;
pub(super) mod watch;

use super::connection::CloseReason;
use super::limits;
use rustls::Connection;
use rustls::client::{ClientConfig, ClientConnection, verify_server_name};
use rustls::pki_types::{IpAddr as PkiIp, ServerName};
use rustls::server::{ParsedCertificate, ServerConfig, ServerConnection};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

/// One TLS session, without a socket.
#[derive(Debug)]
pub(super) struct Session(Connection);

impl Session {
    /// The side that is connected to.
    ///
    /// # Errors
    /// [`CloseReason::Tls`] when the library refuses its configuration.
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, CloseReason> {
        let session = ServerConnection::new(config).map_err(|_| CloseReason::Tls)?;
        Ok(Self::new(Connection::Server(session)))
    }

    /// The side that connects, to a peer whose certificate has to hold `name`.
    ///
    /// # Errors
    /// As [`Self::server`].
    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, CloseReason> {
        let session = ClientConnection::new(config, name).map_err(|_| CloseReason::Tls)?;
        Ok(Self::new(Connection::Client(session)))
    }

    fn new(mut session: Connection) -> Self {
        // What is sent before the handshake is over waits there.
        session.set_buffer_limit(Some(limits::MAX_UNSENT));
        Self(session)
    }

    /// Whether the handshake goes on.
    pub(super) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Takes what was read from the socket; what is in clear is appended to `clear`, and what has
    /// to be sent to `wire`, also when it fails. True once the peer has said that it ends.
    ///
    /// # Errors
    /// [`CloseReason::Tls`] when the peer does not keep to TLS, or is not who it must be.
    pub(super) fn receive(
        &mut self,
        mut octets: &[u8],
        clear: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<bool, CloseReason> {
        let mut ends = false;
        while !octets.is_empty() && !ends {
            let taken = self.0.read_tls(&mut octets).unwrap_or(0);
            let state = match self.0.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    match &self.0 {
                        Connection::Server(_) => tracing::debug!(%error, "TLS with a peer failed"),
                        // Calls to it fail until the operator does something about it.
                        Connection::Client(_) => tracing::warn!(%error, "TLS to a server failed"),
                    }
                    // The alert says why.
                    self.flush(wire);
                    return Err(CloseReason::Tls);
                }
            };
            let (start, len) = (clear.len(), state.plaintext_bytes_to_read());
            clear.resize(start + len, 0);
            if len > 0 && self.0.reader().read_exact(&mut clear[start..]).is_err() {
                return Err(CloseReason::Tls);
            }
            ends = state.peer_has_closed();
            if taken == 0 && !ends {
                return Err(CloseReason::Tls);
            }
        }
        self.flush(wire);
        Ok(ends)
    }

    /// Seals a message; before the end of the handshake it waits for that.
    ///
    /// # Errors
    /// [`CloseReason::SlowReceiver`] when too much waits.
    pub(super) fn send(&mut self, clear: &[u8], wire: &mut Vec<u8>) -> Result<(), CloseReason> {
        let written = self.0.writer().write_all(clear);
        self.flush(wire);
        written.map_err(|_| CloseReason::SlowReceiver)
    }

    /// Tells the peer that nothing more comes.
    pub(super) fn end(&mut self, wire: &mut Vec<u8>) {
        self.0.send_close_notify();
        self.flush(wire);
    }

    /// What the session wants sent: the first octets of a client's handshake, above all.
    pub(super) fn flush(&mut self, wire: &mut Vec<u8>) {
        while self.0.wants_write() {
            if self.0.write_tls(wire).is_err() {
                break;
            }
        }
    }

    /// Whether the peer has proved by a certificate that it is `name`.
    pub(super) fn peer_is(&self, name: &ServerName<'_>) -> bool {
        let certificate = self.0.peer_certificates().and_then(|chain| chain.first());
        certificate
            .and_then(|it| ParsedCertificate::try_from(it).ok())
            .is_some_and(|it| verify_server_name(&it, name).is_ok())
    }

    /// Whether the peer has a certificate, which was checked when the handshake ended.
    pub(super) fn has_certificate(&self) -> bool {
        self.0.peer_certificates().is_some_and(|chain| !chain.is_empty())
    }
}

/// The name that a peer's certificate has to hold (RFC 5922 §7): the one it was looked up by, else
/// its address.
pub(super) fn server_name(name: Option<&str>, address: IpAddr) -> Option<ServerName<'static>> {
    match name {
        Some(name) => ServerName::try_from(name.to_owned()).ok(),
        None => Some(ServerName::IpAddress(PkiIp::from(address))),
    }
}

#[cfg(test)]
pub(super) mod tests;
