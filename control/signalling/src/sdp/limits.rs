//! How large a session description may be.

/// Octets of a description.
pub const MAX_OCTETS: usize = 65_535;
/// Lines of a description.
pub const MAX_LINES: usize = 2_048;
/// Media lines of a description.
pub const MAX_MEDIA: usize = 32;
