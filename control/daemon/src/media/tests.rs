//! Offer and answer over an engine in memory.
