//! Every limit of the media plane, in one file.

/// Packets that walk together through one worker turn.
pub const BURST: usize = 64;
/// Workers of one engine: four descriptors of each go in one message, which can carry 253.
pub const MAX_WORKERS: usize = 63;
/// Terminations of one worker; the `socket` port is bounded sooner by the open-files limit.
pub const MAX_TERMINATIONS: u32 = 131_072;
/// Terminations of one worker when nothing else is configured.
pub const DEFAULT_TERMINATIONS: u32 = 16_384;
/// Payload types that one termination knows.
pub const MAX_PAYLOAD_TYPES: usize = 16;
/// Terminations that one termination sends to (relay: one; fork and early media: several).
pub const MAX_EDGES: usize = 8;
/// Handles in one lease renewal.
pub const RENEW_BATCH: usize = 32;
/// Commands on the way to one worker; when full, control waits and tries again.
pub const COMMAND_RING: usize = 4_096;
/// Events on the way from one worker; when full, events are counted as lost and control audits.
pub const EVENT_RING: usize = 16_384;
/// Octets of one packet buffer, headroom and tailroom included.
pub const FRAME_SIZE: usize = 2_048;
/// Octets kept free before a payload (link and network headers).
pub const HEADROOM: usize = 128;
/// Octets kept free behind a payload (authentication tags).
pub const TAILROOM: usize = 64;
/// Largest payload that the engine relays, octets.
pub const MAX_PAYLOAD: usize = FRAME_SIZE - HEADROOM - TAILROOM;
/// A sequence gap up to this is loss; a larger one is a counted restart (RFC 3550 A.1
/// MAX_DROPOUT).
pub const MAX_DROPOUT: u16 = 3_000;
/// In-sequence packets of one SSRC that confirm a source that signalling did not announce.
pub const LEARN_PACKETS: u8 = 4;
/// Silence after which the same SSRC with a continuing sequence may come from a new address, ms.
pub const DEFAULT_RELEARN_SILENCE_MS: u32 = 2_000;
/// Silence after which a media timeout is reported, ms.
pub const DEFAULT_MEDIA_TIMEOUT_MS: u32 = 30_000;
/// Lease of a context that control does not renew, ms.
pub const DEFAULT_LEASE_MS: u32 = 30_000;
/// Quarantine of a port before it is used again, ms.
pub const DEFAULT_QUARANTINE_MS: u32 = 5_000;
/// Endpoints that the engine keeps bound ahead of need, per worker.
pub const DEFAULT_ENDPOINTS_AHEAD: u32 = 64;
/// First and last media port.
pub const DEFAULT_PORT_RANGE: (u16, u16) = (30_000, 59_999);
