//! Which kind of media port can run here.

use super::Finding;
use crate::config::Config;
use crate::config::types::PortKind;
use crate::link::process::URING_REMEDY;
use tandem_hw::port::socket::Uring;

/// Looks at all kinds of ports.
#[must_use]
pub fn look(config: &Config) -> Vec<Finding> {
    let uring = match Uring::is_available() {
        Ok(()) => Finding::ok("port.io_uring", "a packet was sent and received by io_uring"),
        Err(reason) => {
            let found = format!("not usable: {reason}");
            let remedy = URING_REMEDY;
            match config.media.port {
                PortKind::IoUring => Finding::error(
                    "port.io_uring",
                    found,
                    format!("{remedy}, or set media.port = \"auto\""),
                ),
                PortKind::Auto => Finding::warning(
                    "port.io_uring",
                    format!("{found}; recvmmsg and sendmmsg are used instead"),
                    remedy,
                ),
                PortKind::Mmsg => Finding::absent("port.io_uring", found),
            }
        }
    };
    vec![
        uring,
        Finding::ok("port.mmsg", "recvmmsg and sendmmsg are always there"),
        Finding::absent("port.af_xdp", "not built into this version"),
        Finding::absent("port.dpdk", "not built into this version"),
    ]
}
