//! Limits of the machine and of this process.

use super::Finding;
use crate::cli::run::{MAX_SOCKET_PATH, engine_program, engine_socket};
use crate::cli::runfile::FolderLock;
use crate::config::Config;
use std::fs;
use std::path::Path;
use tandem_contract::limits::{FILES_PER_ENDPOINT, endpoints_for_files};
use tandem_hw::limits::open_files;

/// Sockets of one call: two legs, RTP and RTCP each.
pub const SOCKETS_PER_CALL: u64 = LEGS_PER_CALL * FILES_PER_ENDPOINT;
/// Each has an endpoint.
const LEGS_PER_CALL: u64 = 2;
/// Receive and send buffer that a media socket and the SIP sockets profit from, octets.
const BUFFER: u64 = 1 << 20;

/// Looks at the machine.
#[must_use]
pub fn look(config: &Config, data: &Path) -> Vec<Finding> {
    vec![
        files(config),
        buffer("buffers.receive", "rmem_max"),
        buffer("buffers.send", "wmem_max"),
        cores(config),
        clock(),
        folder(data),
        engine(config, data),
    ]
}

/// Calls that a limit of open files allows.
#[must_use]
pub fn calls_for_files(limit: u64, config: &Config) -> u64 {
    let workers = u64::from(workers(config));
    endpoints_for_files(limit, workers) / LEGS_PER_CALL
}

/// Workers of the engine: as configured, else all cores but one.
#[must_use]
pub fn workers(config: &Config) -> u32 {
    if config.media.workers > 0 {
        return config.media.workers;
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores.saturating_sub(1).clamp(1, tandem_contract::limits::MAX_WORKERS))
        .unwrap_or(1)
}

fn files(config: &Config) -> Finding {
    let limit = open_files();
    let calls = calls_for_files(limit.hard, config);
    let found = format!(
        "{} (raised to {} at start): about {calls} calls, {SOCKETS_PER_CALL} sockets each",
        limit.soft, limit.hard
    );
    let remedy = "raise it: LimitNOFILE= of the service, or ulimit -Hn as root";
    if calls == 0 {
        Finding::error("files", found, remedy)
    } else if calls < u64::from(config.call.max_calls) && asks_for_calls(config) {
        Finding::warning(
            "files",
            found,
            format!("{remedy}; call.max_calls = {} needs more", config.call.max_calls),
        )
    } else {
        Finding::ok("files", found)
    }
}

/// Whether somebody wrote how many calls there shall be; the default takes what there is.
fn asks_for_calls(config: &Config) -> bool {
    config.call.max_calls != Config::default().call.max_calls
}

fn buffer(name: &'static str, key: &str) -> Finding {
    match read_number(&format!("/proc/sys/net/core/{key}")) {
        Some(value) if value >= BUFFER => Finding::ok(name, format!("{key} {value} octets")),
        Some(value) => Finding::warning(
            name,
            format!("{key} {value} octets: bursts may be lost in the kernel"),
            format!("sysctl -w net.core.{key}={}", BUFFER * 4),
        ),
        None => Finding::absent(name, format!("{key} cannot be read here")),
    }
}

fn cores(config: &Config) -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = workers(config);
    let found = format!("{cores} usable, {workers} for media");
    if usize::try_from(workers).is_ok_and(|workers| workers >= cores && cores > 1) {
        Finding::warning(
            "cores",
            found,
            format!("leave one core for signalling: media.workers = {}", cores - 1),
        )
    } else if cores == 1 {
        Finding::warning("cores", found, "media and signalling share it: give the machine two")
    } else {
        Finding::ok("cores", found)
    }
}

fn clock() -> Finding {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    match fs::read_to_string(path) {
        Ok(source) => {
            let source = source.trim().to_owned();
            if matches!(source.as_str(), "hpet" | "acpi_pm" | "jiffies") {
                Finding::warning(
                    "clock",
                    format!("{source}: each reading costs a system call"),
                    "choose tsc or kvm-clock with the kernel parameter clocksource=",
                )
            } else {
                Finding::ok("clock", source)
            }
        }
        Err(_) => Finding::absent("clock", "the clock source cannot be read here"),
    }
}

fn folder(data: &Path) -> Finding {
    use crate::cli::runfile::LockError;
    let existed = data.exists();
    match FolderLock::take(data) {
        Ok(lock) => {
            drop(lock);
            if !existed {
                // Looking must not leave anything behind; other files keep the folder.
                let _ = fs::remove_file(data.join("lock"));
                let _ = fs::remove_dir(data);
            }
            Finding::ok("data", format!("{} is writable", data.display()))
        }
        Err(LockError::Taken { pid, .. }) => {
            Finding::ok("data", format!("{} is used by tandem (process {pid})", data.display()))
        }
        Err(error) => {
            Finding::error("data", format!("{} is not writable", data.display()), error.to_string())
        }
    }
}

/// Whether the engine can be started.
pub(super) fn engine(config: &Config, data: &Path) -> Finding {
    let program = engine_program(config);
    let socket = engine_socket(config, data);
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        return Finding::error(
            "engine",
            format!("the path of its socket {} is too long", socket.display()),
            format!("set engine.socket to a path of at most {MAX_SOCKET_PATH} octets"),
        );
    }
    if program.is_file() {
        Finding::ok("engine", program.display().to_string())
    } else if socket.exists() {
        Finding::ok("engine", format!("{} is of an engine that runs", socket.display()))
    } else {
        Finding::error(
            "engine",
            format!("{} is neither beside tandem nor in the PATH", program.display()),
            "build it with `cargo build --release -p tandem-engine`, or set engine.program",
        )
    }
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_follow_from_the_limit() {
        let mut config = Config::default();
        config.media.workers = 1;
        assert_eq!(calls_for_files(20_000, &config), (20_000 - 64 - 24) / 4);
        assert_eq!(calls_for_files(10, &config), 0);
        config.media.workers = 0;
        assert!(workers(&config) >= 1);
    }

    #[test]
    fn looking_leaves_no_folder_behind() {
        let parent = tempfile::tempdir().unwrap();
        let data = parent.path().join("data");
        assert_eq!(folder(&data).standing, super::super::Standing::Ok);
        assert!(!data.exists());
        fs::create_dir(&data).unwrap();
        let _lock = FolderLock::take(&data).unwrap();
        assert!(folder(&data).found.contains("is used by tandem"));
    }
}
