//! The control daemon of Tandem: sockets, calls, policy, store, API, command line.
//!
//! The signalling thread owns calls and registrations and never waits for a disk; the store, the
//! journal and the API have threads of their own and meet it in [`snapshot`], [`journal`] and
//! [`store::users::UserList`].

pub mod api;
pub mod call;
pub mod check;
pub mod cli;
pub mod config;
pub mod core;
pub mod demo;
pub mod guard;
pub mod journal;
pub mod link;
pub mod locate;
pub mod logging;
pub mod media;
pub mod net;
pub mod record;
pub mod registrar;
pub mod relay;
pub mod route;
pub mod snapshot;
pub mod store;
pub mod top;
pub mod trace;
pub mod trunk;
