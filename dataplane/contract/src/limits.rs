//! Every limit that control and engine share, in one file, and what follows from them; those of the
//! packet buffers are the port's.

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
/// Files of one endpoint: its RTP and its RTCP socket.
pub const FILES_PER_ENDPOINT: u64 = 2;
/// Files of a worker besides endpoints: ring, doorbells, lane, table, some to spare.
pub const FILES_PER_WORKER: u64 = 24;
/// Files of the engine besides.
pub const FILES_BESIDES: u64 = 64;

/// Endpoints of all workers that a limit of open files allows.
#[must_use]
pub const fn endpoints_for_files(files: u64, workers: u64) -> u64 {
    files.saturating_sub(FILES_BESIDES + FILES_PER_WORKER * workers) / FILES_PER_ENDPOINT
}

/// Port pairs of a range: an even port and the next one, both in the range.
#[must_use]
pub const fn port_pairs(first: u16, last: u16) -> u32 {
    let even = (first as u32).next_multiple_of(2);
    (last as u32 + 1).saturating_sub(even) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_begins_with_an_even_port() {
        assert_eq!((port_pairs(30_000, 30_003), port_pairs(30_001, 30_004)), (2, 1));
        assert_eq!((port_pairs(30_001, 30_002), port_pairs(30_000, 30_000)), (0, 0));
        assert_eq!((port_pairs(1_024, 65_535), port_pairs(40_000, 30_000)), (32_256, 0));
        assert_eq!((port_pairs(65_534, 65_535), port_pairs(65_535, 65_535)), (1, 0));
    }

    #[test]
    fn endpoints_are_what_other_files_leave() {
        assert_eq!((endpoints_for_files(1_024, 1), endpoints_for_files(1_024, 4)), (468, 432));
        assert_eq!((endpoints_for_files(89, 1), endpoints_for_files(0, 63)), (0, 0));
        assert_eq!(endpoints_for_files(90, 1), 1);
    }
}
