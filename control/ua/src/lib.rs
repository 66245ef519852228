//! A scriptable SIP softphone over real sockets: registers, calls, answers, plays and records
//! sound, sends and receives DTMF, and measures its own RTP.
//!
//! The program `tandem-ua` is [`script::Runner`] with a command line ([`args`]). Tests and tools
//! use a [`phone::Phone`] and the functions of [`call`] directly.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`args`] | the command line |
//! | [`phone`] | the SIP side: addresses, requests, answers |
//! | [`register`] | registration |
//! | [`call`] | calls of both directions |
//! | [`sdp`] | offer and answer |
//! | [`media`] | RTP and RTCP |
//! | [`audio`], [`wav`] | what is played and heard |
//! | [`report`] | what is told at the end |
//! | [`script`] | actions one after the other |

pub mod args;
pub mod audio;
mod auth;
pub mod call;
pub mod clock;
pub mod error;
pub mod media;
mod net;
pub mod phone;
mod pump;
pub mod register;
pub mod report;
pub mod script;
pub mod sdp;
pub mod wav;
