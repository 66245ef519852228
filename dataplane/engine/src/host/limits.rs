//! The open-files limit and what it means: each endpoint is two sockets.

use super::args::Args;
use super::error::HostError;
use tandem_contract::limits::{
    FILES_BESIDES, FILES_PER_ENDPOINT, FILES_PER_WORKER, endpoints_for_files,
};
use tandem_hw::limits::raise_open_files;

/// What the machine allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Entries of a worker's tables.
    pub terminations: u32,
    /// Endpoints of a worker.
    pub endpoints: u32,
}

/// Raises the limit as far as allowed and says what it means.
///
/// # Errors
/// [`HostError::OpenFiles`] if it leaves no endpoint.
pub(crate) fn raise(args: &Args) -> Result<Limits, HostError> {
    let files = raise_open_files().map_err(HostError::system("raising the open-files limit"))?;
    let workers = u64::from(args.workers);
    let per_worker = endpoints_for_files(files.soft, workers) / workers;
    if per_worker == 0 {
        let needed = FILES_BESIDES + (FILES_PER_WORKER + FILES_PER_ENDPOINT) * workers;
        return Err(HostError::OpenFiles { limit: files.soft, needed });
    }
    let per_worker = u32::try_from(per_worker).unwrap_or(u32::MAX);
    let families = args.families().iter().filter(|there| **there).count();
    let pairs = args.ports.pairs().saturating_mul(u32::try_from(families).unwrap_or(1));
    let endpoints = per_worker.min(pairs / u32::from(args.workers)).min(args.terminations).max(1);
    tracing::info!(
        "open-files limit {}: at most {} endpoints (two sockets each), so about {} calls of two \
         legs{}",
        files.soft,
        u64::from(endpoints) * workers,
        u64::from(endpoints) * workers / 2,
        if endpoints == per_worker { "; raise it (ulimit -n, LimitNOFILE=) for more" } else { "" },
    );
    Ok(Limits { terminations: endpoints, endpoints })
}
