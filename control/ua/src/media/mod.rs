//! RTP: the session, its sockets, its statistics.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`sender`] | makes the packets: audio and telephone events |
//! | [`meter`] | measures what is received |
//! | [`reports`] | RTCP |
//! | [`session`] | the three together, without sockets and clock |
//! | [`task`] | sockets and clock |

pub mod meter;
pub mod reports;
pub mod sender;
pub mod session;
pub mod task;
