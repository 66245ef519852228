//! Names for what passes between the stack, the network and the transaction user.

use super::slab::Key;
use crate::message::Message;
use core::fmt;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A transport protocol of SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream over TLS.
    Tls,
    /// Frames of a WebSocket (RFC 7118).
    Ws,
    /// Frames of a WebSocket over TLS.
    Wss,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// Whether the transport delivers every message once by itself.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether nobody on the way can read along.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether messages come in frames of a WebSocket. Such a peer can only be reached over the
    /// connection that it opened.
    #[must_use]
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Name in a Via (RFC 3261 §20.42, RFC 7118 §5.2.1).
    #[must_use]
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// Value of the URI parameter `transport`. RFC 7118 §5.2.2 has `ws` alone, for both kinds;
    /// `tls` (RFC 3261 §26.2.2 deprecates it) is what phones write and read.
    #[must_use]
    pub const fn uri_param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws | Self::Wss => "ws",
        }
    }

    /// The transport of this name, in any case, as in a Via or a URI parameter.
    ///
    /// ```
    /// use tandem_signalling::stack::Transport;
    /// assert_eq!(Transport::from_name("tls"), Some(Transport::Tls));
    /// assert_eq!(Transport::from_name("sctp"), None);
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.via_name().eq_ignore_ascii_case(name))
    }

    /// Port of a URI or Via that names none (RFC 3261 §19.1.2, RFC 7118 §5.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// Number of the name under which a peer was looked up, which its certificate has to hold (RFC
/// 5922 §7.2). Whoever looks names up keeps the table from numbers to names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerName(u32);

impl PeerName {
    /// No name: the peer was named by its address, or came by itself.
    pub const NONE: Self = Self(0);

    /// The name of this number; 0 is [`Self::NONE`].
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number, 0 for none.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// Where a message came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    /// Transport.
    pub transport: Transport,
    /// Our socket's address, never a wildcard.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Number of the connection that the sockets' owner gave it; 0 for datagrams, and for "open a
    /// connection to `remote`, or use one that is open".
    #[serde(skip)] // each process numbers anew
    pub connection: u64,
    /// The name that the peer has to prove when a secure connection is opened to it.
    #[serde(skip)] // each process numbers anew
    pub name: PeerName,
}

impl Flow {
    /// A flow of any transport; `connection` 0 asks for one to `remote`.
    #[must_use]
    pub const fn new(
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
        connection: u64,
    ) -> Self {
        Self { transport, local, remote, connection, name: PeerName::NONE }
    }

    /// A datagram flow.
    #[must_use]
    pub const fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self::new(Transport::Udp, local, remote, 0)
    }

    /// A TCP flow; `connection` 0 asks for one to `remote`.
    #[must_use]
    pub const fn tcp(local: SocketAddr, remote: SocketAddr, connection: u64) -> Self {
        Self::new(Transport::Tcp, local, remote, connection)
    }
}

macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(super) Key);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x})", stringify!($name), self.0.to_bits())
            }
        }
    };
}

key_type!(
    /// A server transaction: a request that came in and is to be answered.
    ServerTx
);
key_type!(
    /// A client transaction: a request that went out.
    ClientTx
);
key_type!(
    /// A dialog, early or confirmed.
    DialogId
);

/// What the stack wants done; see [`Stack::poll_output`](super::Stack::poll_output).
#[derive(Clone, Debug)]
pub enum Output {
    /// Send these octets. Retransmissions share one buffer.
    Transmit {
        /// Where to.
        flow: Flow,
        /// The message.
        bytes: Arc<[u8]>,
    },
    /// Something that the transaction user must know.
    Event(Event),
}

/// Something that the transaction user must know.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new request, to be answered with [`Stack::respond`](super::Stack::respond). ACK and
    /// CANCEL never come this way.
    Request {
        /// The transaction to answer.
        tx: ServerTx,
        /// The dialog in which it came.
        dialog: Option<DialogId>,
        /// The request.
        request: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// The ACK of a 2xx, once; its body may hold an answer.
    Ack {
        /// The dialog that it confirms.
        dialog: DialogId,
        /// The ACK.
        request: Message,
    },
    /// The caller gave up. The CANCEL has its 200; answer the INVITE with 487.
    Cancelled {
        /// The INVITE's transaction.
        tx: ServerTx,
        /// The CANCEL (its Reason may be of interest, RFC 3326).
        request: Message,
    },
    /// A response, provisional or final; never 100 to INVITE, never a repeated final one.
    ///
    /// Every 2xx to an INVITE, also of a second fork and after a CANCEL, must be answered with
    /// [`Stack::ack`](super::Stack::ack), and a dialog that is not wanted then with a BYE.
    Response {
        /// The request's transaction.
        tx: ClientTx,
        /// The dialog that it belongs to or opens.
        dialog: Option<DialogId>,
        /// The response.
        response: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// Nobody answered in time (timers B, F, or 64*T1 after a CANCEL): as if 408 came.
    TimedOut {
        /// The request's transaction, which is over.
        tx: ClientTx,
    },
    /// The request could not be sent: as if 503 came (RFC 3261 §8.1.3.1).
    TransportFailed {
        /// The request's transaction, which is over.
        tx: ClientTx,
    },
    /// Timer C: it rang too long without a new provisional response. The transaction lives on;
    /// cancel it.
    RingingTooLong {
        /// The INVITE's transaction.
        tx: ClientTx,
    },
    /// A response could not be delivered.
    ResponseFailed {
        /// The request's transaction.
        tx: ServerTx,
        /// What went wrong.
        cause: ResponseFailure,
    },
    /// A 2xx to an INVITE was repeated for 64*T1 and no ACK came: send a BYE (RFC 3261
    /// §13.3.1.4).
    AckTimeout {
        /// The dialog, which is still alive.
        dialog: DialogId,
    },
    /// A reliable provisional response was repeated for 64*T1 and no PRACK came: answer the INVITE
    /// with a 5xx (RFC 3262 §3). What waited for the PRACK is dropped.
    PrackTimeout {
        /// The INVITE's transaction.
        tx: ServerTx,
    },
    /// A dialog is over and its identifier dead; reported once for each dialog.
    DialogEnded {
        /// The dialog.
        dialog: DialogId,
        /// Why.
        cause: DialogEnd,
    },
}

/// Why a response did not arrive, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseFailure {
    /// The transport could not send it.
    Transport,
    /// Timer H: the non-2xx final response to an INVITE was never acknowledged.
    NoAck,
}

/// Why a dialog ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialogEnd {
    /// The peer's BYE was answered with 2xx.
    ByeReceived,
    /// Our BYE got its final response, or none in time.
    ByeSent,
    /// The INVITE that opened this early dialog failed, or went to another fork.
    InviteFailed,
    /// The peer answered 481: it does not know the dialog (RFC 5057 §5.1).
    Unknown,
    /// [`Stack::drop_dialog`](super::Stack::drop_dialog).
    Dropped,
}

/// Why the stack would not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The transaction is over, or never was.
    #[error("no such transaction")]
    NoTransaction,
    /// The dialog is over, or never was.
    #[error("no such dialog")]
    NoDialog,
    /// A final response was already sent, or the request already answered.
    #[error("the transaction already has its final response")]
    AlreadyFinal,
    /// The status is not one that fits here.
    #[error("status {0} is not a response code that fits")]
    BadStatus(u16),
    /// Another INVITE of this dialog is not over yet (RFC 3261 §14.1): try again later, see
    /// [`Stack::glare_delay`](super::Stack::glare_delay).
    #[error("an INVITE of this dialog is still in progress")]
    InviteInProgress,
    /// The dialog is early, or ending, and does not allow this request.
    #[error("the state of the dialog does not allow this request")]
    WrongDialogState,
    /// Only an INVITE can be cancelled, and only a 2xx to INVITE acknowledged by the user.
    #[error("the request is not one for which this can be done")]
    WrongMethod,
    /// A limit is reached; it is named.
    #[error("limit reached: {0}; raise it in the configuration or shed load")]
    LimitReached(&'static str),
}

impl StackError {
    /// The response code that tells a caller about it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NoTransaction | Self::NoDialog => 481,
            Self::InviteInProgress => 491,
            Self::LimitReached(_) => 503,
            Self::AlreadyFinal
            | Self::BadStatus(_)
            | Self::WrongDialogState
            | Self::WrongMethod => 500,
        }
    }
}
