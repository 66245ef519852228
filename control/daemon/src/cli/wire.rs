//! From the configuration to engine, media plane and signalling thread.

use super::run::{MAX_SOCKET_PATH, engine_program, engine_socket};
use super::{CliError, CliResult};
use crate::check::system::workers;
use crate::config::Config;
use crate::config::types::{Advertised, LogFormat, PortKind, Relay};
use crate::core::{self, CoreHandle, Start, StartError};
use crate::journal::{Journal, Recovered};
use crate::link::local::LocalEngine;
use crate::link::process::EngineConfig;
use crate::media::{CodecPolicy, MediaConfig, MediaPlane};
use crate::snapshot::{Query, Shared};
use crate::store::users::UserList;
use crate::trace::Trace;
use crate::trace::hep::{Exporter, Target};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tandem_contract::limits::port_pairs;
use tokio::sync::mpsc;

/// What is needed to start.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) data: &'a Path,
    pub(super) journal: Journal,
    pub(super) recovered: Recovered,
    pub(super) users: UserList,
    pub(super) shared: Arc<Shared>,
    pub(super) queries: mpsc::Receiver<Query>,
}

/// Starts the signalling thread; it brings the engine up by itself.
pub(super) fn start(parts: Parts<'_>) -> CliResult<CoreHandle> {
    let socket = engine_socket(parts.config, parts.data);
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(CliError::failed(format!(
            "the path of the engine's socket {} is longer than {MAX_SOCKET_PATH} octets: set engine.socket to a shorter one",
            socket.display()
        )));
    }
    let link =
        LocalEngine::new(engine_config(parts.config, parts.data)).map_err(CliError::failed)?;
    let media = MediaPlane::new(media_config(parts.config), Box::new(link));
    core::start(Start {
        config: parts.config.clone(),
        journal: parts.journal,
        recovered: parts.recovered,
        users: parts.users,
        media,
        shared: parts.shared,
        queries: parts.queries,
    })
    .map_err(|error| match error {
        StartError::Net(error) => CliError::failed(format!("{error} (key sip.listen)")),
        other => CliError::failed(other),
    })
}

/// The trace, with its export.
pub(super) fn trace(config: &Config) -> CliResult<Trace> {
    let trace = &config.trace;
    let export = match trace.hep_server.parse::<SocketAddr>() {
        Ok(server) => {
            let password = trace.hep_password.clone();
            let target = Target { server, capture_id: trace.hep_id, password };
            Some(Exporter::start(target).map_err(|error| {
                CliError::failed(format!(
                    "cannot send copies to trace.hep_server {server}: {error}; correct it, or leave it out"
                ))
            })?)
        }
        // Empty: everything else was refused with the configuration.
        Err(_) => None,
    };
    let octets = usize::try_from(trace.memory_mib).unwrap_or(0).saturating_mul(1 << 20);
    Ok(Trace::new(octets, export))
}

fn engine_config(config: &Config, data: &Path) -> EngineConfig {
    let media = &config.media;
    let port = match media.port {
        PortKind::Auto => "auto",
        PortKind::IoUring => "uring",
        PortKind::Mmsg => "mmsg",
    };
    let workers = workers(config);
    // The engine refuses to bind more ahead than the range has.
    let ahead =
        media.endpoints_ahead.min(port_pairs(media.port_min, media.port_max) / workers).max(1);
    let mut arguments: Vec<OsString> = Vec::new();
    if config.engine.pin {
        arguments.push("--pin".into());
    }
    if config.log.format == LogFormat::Json {
        arguments.extend(["--log-format".into(), "json".into()]);
    }
    for (name, value) in [
        ("--terminations", media.max_terminations.to_string()),
        ("--quarantine", media.quarantine_ms.to_string()),
        ("--port-kind", port.to_owned()),
        ("--linger", config.engine.linger_s.to_string()),
        ("--frames", config.engine.frames.to_string()),
        ("--log", config.log.level.clone()),
    ] {
        arguments.push(name.into());
        arguments.push(value.into());
    }
    EngineConfig {
        program: Some(engine_program(config)),
        socket: engine_socket(config, data),
        log: Some(data.join("engine.log")),
        workers: u16::try_from(workers).unwrap_or(1),
        addresses: config.media_addresses(),
        ports: (media.port_min, media.port_max),
        endpoints_ahead: ahead,
        arguments,
    }
}

/// What the configuration says of media.
pub(super) fn media_config(config: &Config) -> MediaConfig {
    let media = &config.media;
    // The addresses phones reach us at are those of SIP unless media has its own.
    let listed =
        if media.advertised.is_empty() { &config.sip.advertised } else { &media.advertised };
    let mut bound: BTreeSet<IpAddr> = config.media_addresses().into_iter().collect();
    bound.extend(config.sip.listen.iter().map(SocketAddr::ip));
    bound.extend(listed.iter().filter_map(|entry| entry.bound));
    let advertised =
        bound.into_iter().filter_map(|ip| Some((ip, Advertised::of(listed, ip)?))).collect();
    MediaConfig {
        advertised,
        dscp: media.dscp,
        media_timeout_ms: media.timeout_ms,
        relearn_silence_ms: media.relearn_silence_ms,
        lease_ms: media.lease_ms,
        strict_source: media.strict_source,
        codecs: CodecPolicy {
            allowed: media.codecs.clone(),
            refused: media.codecs_refused.clone(),
        },
        relay: media.relay == Relay::Always,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn codecs_of_the_configuration_are_the_policy() {
        let set = config("[media]\ncodecs = [\"opus\", \"PCMA\"]\ncodecs_refused = [\"VP8\"]");
        let policy = media_config(&set).codecs;
        let names = |list: &[crate::config::types::CodecName]| {
            list.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(&policy.allowed), ["opus", "PCMA"]);
        assert_eq!(names(&policy.refused), ["VP8"]);
        assert!(Config::parse("[media]\ncodecs = [\"a\"]\ncodecs_refused = [\"a\"]").is_err());
    }

    #[test]
    fn one_announced_address_holds_for_all_bound_ones() {
        let nat = config(
            "[sip]\nlisten = [\"10.0.0.1:5060\"]\nadvertised = [\"203.0.113.1\"]\n[media]\naddresses = [\"10.0.0.2\"]",
        );
        let expected = [(ip("10.0.0.1"), ip("203.0.113.1")), (ip("10.0.0.2"), ip("203.0.113.1"))];
        assert_eq!(media_config(&nat).advertised, expected);
        let apart = config(
            "[sip]\nadvertised = [\"203.0.113.1\"]\n[media]\nadvertised = [\"127.0.0.1=203.0.113.2\"]",
        );
        assert_eq!(media_config(&apart).advertised, [(ip("127.0.0.1"), ip("203.0.113.2"))]);
    }

    #[test]
    fn the_engine_lives_in_the_data_folder() {
        let text = "[log]\nformat = \"json\"\n[engine]\nlinger_s = 7\n[media]\nport_max = 30019\nworkers = 2";
        let engine = engine_config(&config(text), Path::new("d"));
        assert_eq!(engine.endpoints_ahead, 5, "ten pairs for two workers");
        assert_eq!(engine.socket, Path::new("d/engine.sock"));
        let at = engine.arguments.iter().position(|word| word == "--linger").unwrap();
        assert_eq!(engine.arguments[at + 1], "7");
        let at = engine.arguments.iter().position(|word| word == "--log-format").unwrap();
        assert_eq!(engine.arguments[at + 1], "json");
    }
}
