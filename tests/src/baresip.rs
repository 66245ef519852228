//! Debian's baresip as a phone on a host of the test: it plays a tone and records what it hears.

use crate::appliance::PASSWORD;
use crate::netns::Net;
use crate::process::Process;
use crate::stage::CLIENT_PORT;
use std::path::{Path, PathBuf};

const MODULES: &str = "/usr/lib/baresip/modules";

/// A running baresip with a folder of its own.
#[derive(Debug)]
pub struct Baresip {
    process: Process,
    folder: PathBuf,
}

impl Baresip {
    /// Starts `user` on client host `client`, playing `tone_hz`; it calls `calls` at once, or
    /// answers by itself, and hangs up and ends after `seconds`.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(
        net: &Net,
        client: usize,
        (user, tone_hz): (&str, u32),
        calls: Option<&str>,
        seconds: u32,
        folder: &Path,
    ) -> Result<Self, String> {
        Self::start_over(net, client, (user, tone_hz), calls, seconds, folder, None)
    }

    /// The same over TLS, with the authority of the server's certificate.
    ///
    /// # Errors
    /// What the system says.
    pub fn start_tls(
        net: &Net,
        client: usize,
        user: (&str, u32),
        calls: Option<&str>,
        seconds: u32,
        folder: &Path,
        ca: &Path,
    ) -> Result<Self, String> {
        Self::start_over(net, client, user, calls, seconds, folder, Some(ca))
    }

    fn start_over(
        net: &Net,
        client: usize,
        (user, tone_hz): (&str, u32),
        calls: Option<&str>,
        seconds: u32,
        folder: &Path,
        ca: Option<&Path>,
    ) -> Result<Self, String> {
        let (port, transport) = if ca.is_some() { (5061, "tls") } else { (5060, "udp") };
        let folder = folder.join(format!("baresip-{user}"));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let server = Net::server_ip(1);
        let answers = if calls.is_none() { ";answermode=auto" } else { "" };
        let account = format!(
            "<sip:{user}@{server}:{port};transport={transport}>;auth_user={user};auth_pass={PASSWORD};\
             regint=600;audio_codecs=pcma{answers}\n"
        );
        let listen = format!("{}:{CLIENT_PORT}", Net::client_ip(client));
        let mut config = config(&listen, tone_hz, &folder);
        if let Some(ca) = ca {
            config.push_str(&format!("sip_cafile {}\n", ca.display()));
        }
        for (name, text) in [("config", config), ("accounts", account), ("contacts", String::new())]
        {
            std::fs::write(folder.join(name), text).map_err(|error| error.to_string())?;
        }
        let mut command = net.client(client).command("baresip");
        command.arg("-f").arg(&folder).args(["-t", &seconds.to_string()]);
        if let Some(callee) = calls {
            command
                .args(["-e", &format!("/dial sip:{callee}@{server}:{port};transport={transport}")]);
        }
        let log = folder.join("log");
        let process = Process::start("baresip", &mut command, &log).map_err(|e| e.to_string())?;
        Ok(Self { process, folder })
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// How long its call was, seconds, as it printed it.
    #[must_use]
    pub fn call_seconds(&self) -> Option<u64> {
        let log = self.log();
        let text = log.split("duration: ").nth(1)?;
        text.split_whitespace().next()?.parse().ok()
    }

    /// The recording of what it heard.
    #[must_use]
    pub fn heard(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(&self.folder).ok()?;
        let mut files = entries.flatten().map(|entry| entry.path());
        files.find(|path| path.to_string_lossy().ends_with("-dec.wav"))
    }
}

fn config(listen: &str, tone_hz: u32, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "sip_listen {listen}\n\
         net_interface eth0\n\
         audio_source ausine,{tone_hz}\n\
         audio_player aubridge,nobody\n\
         audio_alert aubridge,nobody\n\
         ausrc_srate 48000\n\
         ausrc_channels 2\n\
         rtp_ports 20000-20100\n\
         module_path {MODULES}\n\
         module g711.so\n\
         module aubridge.so\n\
         module ausine.so\n\
         module sndfile.so\n\
         module_tmp account.so\n\
         module_app menu.so\n\
         snd_path {folder}\n\
         ringback_disabled yes\n\
         menu_bell no\n\
         statmode_default off\n"
    )
}
