//! Every limit of the message level, in one file.

/// Octets of one message, start line to end of body; what one UDP datagram can carry.
pub const MAX_MESSAGE_OCTETS: usize = 65_535;

/// Octets of the start line and headers of a message that arrives on a stream.
pub const MAX_HEADER_OCTETS: usize = 32_768;

/// Header rows of one message.
pub const MAX_HEADER_ROWS: usize = 128;

/// Octets of a method name.
pub const MAX_METHOD_OCTETS: usize = 48;

/// Parameters of one URI, and headers of one; comparing two URIs looks at all pairs of them.
pub const MAX_URI_PAIRS: usize = 32;

/// Challenges of one response that a client looks at.
pub const MAX_CHALLENGES: usize = 8;

/// Nonces whose counts a server remembers at the same time.
pub const MAX_TRACKED_NONCES: usize = 65_536;
