//! The command line as a client of the daemon's HTTP API.

use super::runfile::RunFile;
use super::{CliError, CliResult, DaemonArgs};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A daemon that can be asked.
#[derive(Debug)]
pub struct Daemon {
    url: String,
    agent: ureq::Agent,
    /// What to say when nobody answers.
    silence: String,
}

impl Daemon {
    /// The daemon that `args` name.
    ///
    /// # Errors
    /// [`CliError`] if none runs on the data folder.
    pub fn find(args: &DaemonArgs) -> CliResult<Self> {
        match &args.url {
            Some(url) => {
                let url = if url.contains("://") { url.clone() } else { format!("http://{url}") };
                let silence =
                    format!("nobody answers at {url}: see --url and whether tandem runs there");
                Ok(Self::at(url.trim_end_matches('/').to_owned(), silence))
            }
            None => Self::in_folder(&args.folder.data),
        }
    }

    /// The daemon that runs on a data folder.
    ///
    /// # Errors
    /// [`CliError`] if none does.
    pub fn in_folder(data: &Path) -> CliResult<Self> {
        let start = format!(
            "start it with `tandem run --data {0}`, or name another folder with --data DIR or its API with --url URL",
            data.display()
        );
        let Some(run) = RunFile::read(data) else {
            return Err(CliError::no_daemon(format!(
                "no tandem runs on the data folder {}: {start}",
                data.display()
            )));
        };
        let silence = format!(
            "the tandem that ran on the data folder {} (process {}) does not answer: {start}",
            data.display(),
            run.pid
        );
        Ok(Self::at(format!("http://{}", run.http), silence))
    }

    fn at(url: String, silence: String) -> Self {
        Self { url, agent: agent(TIMEOUT), silence }
    }

    /// Waits for answers this long from now on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.agent = agent(timeout);
    }

    /// Where its API is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// [`CliError`] with what the daemon says is wrong, or that nobody answers.
    pub fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> CliResult<T> {
        self.read(path, &self.ask(path, query)?)
    }

    /// Asks for a path whose answer is no JSON.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub fn get_octets(&self, path: &str) -> CliResult<Vec<u8>> {
        self.ask(path, &[])
    }

    fn ask(&self, path: &str, query: &[(&str, String)]) -> CliResult<Vec<u8>> {
        let request = self.agent.get(format!("{}{path}", self.url));
        let request = query.iter().fold(request, |request, (key, value)| request.query(key, value));
        self.body(path, request.call())
    }

    /// Sends JSON to a path.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> CliResult<T> {
        let request = self.agent.post(format!("{}{path}", self.url));
        self.read(path, &self.body(path, request.send_json(body))?)
    }

    /// Removes what is at a path.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub fn delete(&self, path: &str) -> CliResult {
        let request = self.agent.delete(format!("{}{path}", self.url));
        self.body(path, request.call()).map(drop)
    }

    /// The body of a good answer.
    fn body(
        &self,
        path: &str,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> CliResult<Vec<u8>> {
        let mut response = match answer {
            Ok(response) => response,
            Err(ureq::Error::Timeout(_)) => {
                return Err(CliError::failed(format!("{}{path} took too long", self.url)));
            }
            Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => {
                return Err(CliError::usage(format!("`{}` is not a URL", self.url)));
            }
            Err(_) => return Err(CliError::no_daemon(&self.silence)),
        };
        let status = response.status();
        let body = response
            .body_mut()
            .with_config()
            .limit(256 << 20)
            .read_to_vec()
            .map_err(|_| CliError::no_daemon(&self.silence))?;
        if status.is_success() {
            return Ok(body);
        }
        let problem: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        Err(CliError::failed(match detail {
            Some(detail) => detail.to_owned(),
            None => format!("{}{path} answers {status}: is this a tandem?", self.url),
        }))
    }

    fn read<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> CliResult<T> {
        serde_json::from_slice(body).map_err(|error| {
            CliError::failed(format!(
                "{}{path} answers what this version does not understand: {error}",
                self.url
            ))
        })
    }
}

fn agent(timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .proxy(None)
        .build();
    config.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::DataArgs;

    fn args(data: &Path, url: Option<&str>) -> DaemonArgs {
        DaemonArgs {
            folder: DataArgs { data: data.to_owned() },
            url: url.map(str::to_owned),
            json: false,
        }
    }

    #[test]
    fn without_a_daemon_it_says_how_to_start_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = Daemon::find(&args(folder.path(), None)).unwrap_err();
        assert_eq!(error.status, 3);
        assert!(error.to_string().contains("tandem run --data"), "{error}");
    }

    #[test]
    fn a_daemon_that_is_gone_is_recognised() {
        // A port that nobody listens on: bound and released.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        RunFile {
            pid: 77,
            version: String::new(),
            started_at: jiff::Timestamp::now(),
            http: gone,
            sip_udp: vec![],
            sip_tcp: vec![],
            sip_tls: vec![],
            sip_ws: vec![],
            sip_wss: vec![],
            realm: String::new(),
            algorithms: vec![],
            store: Path::new("x").into(),
        }
        .write(folder.path())
        .unwrap();
        let daemon = Daemon::find(&args(folder.path(), None)).unwrap();
        let error = daemon.get::<serde_json::Value>("/v1/calls", &[]).unwrap_err();
        assert_eq!(error.status, 3);
        assert!(error.to_string().contains("process 77"), "{error}");
        let daemon = Daemon::find(&args(folder.path(), Some(&gone.to_string()))).unwrap();
        let error = daemon.get::<serde_json::Value>("/v1/calls", &[]).unwrap_err();
        assert!(error.to_string().contains("--url"), "{error}");
    }
}
