//! Every limit of the guard, in one file.

use core::time::Duration;

/// Sources whose rate is remembered; 32 octets each. Beyond it the one that owes least is
/// forgotten, and begins anew.
pub const MAX_SOURCES: usize = 65_536;
/// Places that a source may take in the table of sources.
pub const WAYS: usize = 8;
/// Bans that are in force or remembered; beyond it the one that ends first is forgotten.
pub const MAX_BANS: usize = 16_384;
/// Networks in `guard.trusted`.
pub const MAX_TRUSTED: usize = 1_024;
/// Words in `guard.scanners`.
pub const MAX_SCANNERS: usize = 64;
/// How long a ban that is over makes the next one longer.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);
/// Each ban of a source is so many times as long as the one before.
pub const BAN_GROWTH: u32 = 4;
/// Wrong passwords that a source may owe for each that is allowed, when phones are registered from
/// it: many may sit behind one address.
pub const SITE_FACTOR: u32 = 10;
/// Requests for unknown users, without a password, for each wrong password that is allowed.
pub const SWEEP_FACTOR: u32 = 5;
/// Answers per second to sources over their limit, all together; beyond it there is silence.
pub const MAX_REFUSALS_PER_S: u32 = 1_000;
/// How often the share of new calls that is let in is set anew.
pub const CONTROL_EVERY: Duration = Duration::from_millis(50);
