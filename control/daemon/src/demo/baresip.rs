//! Debian's baresip as a phone of the demo: a configuration folder for each, commands over its
//! TCP control module (JSON in netstrings).
//!
//! Its `ausine` module is the microphone, `sndfile` writes what it hears to a WAV file, and
//! `aubridge` is a loudspeaker that nobody listens to.

use super::child::Child;
use super::phone::Plan;
use crate::cli::{CliError, CliResult, find_program};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Modules that the demo needs.
const MODULES: [&str; 7] = ["account", "aubridge", "ausine", "ctrl_tcp", "g711", "menu", "sndfile"];
/// Where distributions put modules: Debian, its multi-arch folders, built by hand.
const MODULE_FOLDERS: [&str; 4] = [
    "/usr/lib/baresip/modules",
    "/usr/lib/x86_64-linux-gnu/baresip/modules",
    "/usr/lib/aarch64-linux-gnu/baresip/modules",
    "/usr/local/lib/baresip/modules",
];
/// How long it may take to listen for commands.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
/// Attempts to find free ports.
const PORT_ATTEMPTS: u32 = 50;

/// Whether it can be run here; else a sentence that says why not.
pub(super) fn usable() -> Result<(), String> {
    if !find_program("baresip").is_absolute() {
        return Err("baresip is not installed (apt-get install baresip-core)".to_owned());
    }
    module_folder().map(drop)
}

/// The folder that has all the modules.
fn module_folder() -> Result<&'static Path, String> {
    let complete = |folder: &&str| {
        MODULES.iter().all(|module| Path::new(folder).join(format!("{module}.so")).is_file())
    };
    let found = MODULE_FOLDERS.iter().find(|folder| complete(folder));
    found.map(|folder| Path::new(*folder)).ok_or_else(|| {
        format!("baresip lacks one of the modules {} (install baresip-core)", MODULES.join(", "))
    })
}

/// Starts it and connects to its control port.
pub(super) fn start(plan: &Plan) -> CliResult<(Child, Control)> {
    let modules = module_folder().map_err(CliError::failed)?;
    let (sip, control) = free_ports()?;
    let files = [
        ("config", config(plan, modules, sip, control)),
        ("accounts", account(plan)),
        ("contacts", String::new()),
    ];
    for (name, text) in files {
        let path = plan.folder.join(name);
        std::fs::write(&path, text).map_err(|error| {
            CliError::failed(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    let arguments = [Path::new("-f"), &plan.folder];
    let program = find_program("baresip");
    let mut child = Child::start(plan.user, &program, arguments, plan.folder.join("log"))?;
    let connected = Control::connect(control, &mut child);
    let control = connected.map_err(|error| error.with_more(&child.last_words()))?;
    Ok((child, control))
}

fn config(plan: &Plan, modules: &Path, sip: SocketAddr, control: SocketAddr) -> String {
    format!(
        "sip_listen {sip}\n\
         net_interface {ip}\n\
         audio_source ausine,{hz}\n\
         audio_player aubridge,nobody\n\
         audio_alert aubridge,nobody\n\
         ausrc_srate 48000\n\
         ausrc_channels 2\n\
         ausrc_format s16\n\
         auplay_format s16\n\
         auenc_format s16\n\
         audec_format s16\n\
         audio_level no\n\
         rtp_ports 20000-29998\n\
         rtp_stats yes\n\
         rtcp_mux no\n\
         jitter_buffer_delay 5-10\n\
         module_path {modules}\n\
         module g711.so\n\
         module aubridge.so\n\
         module ausine.so\n\
         module sndfile.so\n\
         module_tmp account.so\n\
         module_app menu.so\n\
         module_app ctrl_tcp.so\n\
         ctrl_tcp_listen {control}\n\
         snd_path {folder}\n\
         ringback_disabled yes\n\
         menu_bell no\n\
         statmode_default off\n",
        ip = sip.ip(),
        hz = plan.plays_hz,
        modules = modules.display(),
        folder = plan.folder.display(),
    )
}

fn account(plan: &Plan) -> String {
    let Plan { user, password, server, .. } = plan;
    let answers = if plan.calls.is_none() { ";answermode=auto" } else { "" };
    format!(
        "<sip:{user}@{server};transport=udp>;auth_user={user};auth_pass={password};regint=600;audio_codecs=pcmu,pcma{answers}\n"
    )
}

/// A SIP port whose neighbour is free too (baresip takes it for TLS), and one for control.
fn free_ports() -> CliResult<(SocketAddr, SocketAddr)> {
    for _ in 0..PORT_ATTEMPTS {
        let Ok(control) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else { continue };
        let Ok(sip) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else { continue };
        let (Ok(control), Ok(sip)) = (control.local_addr(), sip.local_addr()) else { continue };
        let tls = SocketAddr::new(sip.ip(), sip.port().wrapping_add(1));
        let free = TcpListener::bind(sip).is_ok() && TcpListener::bind(tls).is_ok();
        if free && control.port() != sip.port() && control.port() != tls.port() {
            return Ok((sip, control));
        }
    }
    Err(CliError::failed("no two neighbouring ports of 127.0.0.1 are free for a phone"))
}

/// What it recorded of the other side.
pub(super) fn recording(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut files = entries.flatten().map(|entry| entry.path());
    files.find(|path| path.to_string_lossy().ends_with("-dec.wav"))
}

/// The connection to its control module.
#[derive(Debug)]
pub(super) struct Control {
    stream: TcpStream,
}

impl Control {
    fn connect(address: SocketAddr, child: &mut Child) -> CliResult<Self> {
        let deadline = Instant::now() + LISTENS_WITHIN;
        loop {
            if let Ok(stream) = TcpStream::connect(address) {
                return Ok(Self { stream });
            }
            if child.has_ended() || Instant::now() > deadline {
                return Err(CliError::failed("baresip did not start"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a command. Its answer is not read: what matters is seen at the appliance.
    pub(super) fn command(&mut self, command: &str, parameters: &str) -> CliResult {
        let text = netstring(command, parameters);
        self.stream.write_all(text.as_bytes()).map_err(|error| {
            CliError::failed(format!("baresip does not take commands any more: {error}"))
        })
    }
}

fn netstring(command: &str, parameters: &str) -> String {
    let json = serde_json::json!({ "command": command, "params": parameters }).to_string();
    format!("{}:{json},", json.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_netstring() {
        assert_eq!(netstring("hangup", ""), r#"32:{"command":"hangup","params":""},"#);
    }

    #[test]
    fn the_callee_answers_by_itself_and_the_caller_does_not() {
        let mut plan = Plan {
            user: "alice",
            password: "secret".into(),
            server: "127.0.0.1:5060".parse().unwrap(),
            plays_hz: 440,
            hears_hz: 1000,
            calls: Some("bob"),
            folder: "/nowhere".into(),
        };
        assert!(account(&plan).starts_with("<sip:alice@127.0.0.1:5060;transport=udp>;"));
        assert!(!account(&plan).contains("answermode"));
        assert!(account(&plan).contains("secret") && !format!("{plan:?}").contains("secret"));
        plan.calls = None;
        assert!(account(&plan).trim_end().ends_with(";answermode=auto"));
    }

    #[test]
    fn a_recording_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(recording(folder.path()), None);
        for name in ["dump-1-enc.wav", "dump-1-dec.wav"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(recording(folder.path()).unwrap().ends_with("dump-1-dec.wav"));
    }
}
