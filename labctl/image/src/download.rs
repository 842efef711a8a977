//! Downloads over HTTP: resumed after an interruption, published only if the checksum is right.
//!
//! Partial data is kept in `downloads/`, with a note of its URL and the version of the file (its ETag or date). A later
//! attempt requests the rest of that same version (RFC 9110, If-Range). If the server now has a different version, it
//! sends the whole file, and the old part is discarded.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use labctl_spec::proxy::without_password;
use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::files;
use crate::outside::Outside;
use crate::progress::{Event, Progress};
use crate::store_error::{StoreError, at};

/// A download fails after this many consecutive attempts without new data.
const FRUITLESS: u32 = 3;
/// Largest file that is read into memory (a checksum list or a signature).
const SMALL: u64 = 4 << 20;
/// How often bytes are reported.
const REPORT: Duration = Duration::from_millis(100);

/// Why a file could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No response, or one that is not HTTP.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The server returned an error.
    #[error("{url}: the server returned status {status}")]
    Status {
        /// The address.
        url: String,
        /// Its status code.
        status: u16,
    },
    /// The connection broke repeatedly.
    #[error("{url}: the connection broke after {got} of {} bytes: {reason}", total.map_or("unknown".to_string(), |total| total.to_string()))]
    Broken {
        /// The address.
        url: String,
        /// Bytes that arrived and are kept.
        got: u64,
        /// Total bytes.
        total: Option<u64>,
        /// The last error.
        reason: String,
    },
    /// The file is not the expected one.
    #[error("{url} has the wrong checksum: wanted {wanted}, got {got}")]
    Checksum {
        /// The address.
        url: String,
        /// The expected checksum.
        wanted: Checksum,
        /// The file's checksum.
        got: Checksum,
    },
    /// Larger than any such file can be.
    #[error("{url} is larger than {SMALL} bytes, too large for a checksum list or signature")]
    TooLarge {
        /// The address.
        url: String,
    },
}

impl DownloadError {
    /// What the user can do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Store(error) => error.hint(),
            Self::Unreachable { .. } => "check the network and, behind a proxy, `network.proxy` in the lab file or $http_proxy and $https_proxy; then repeat the command".into(),
            Self::Status { status: 407, .. } => "the proxy wants a user and password: `http://USER:PASSWORD@HOST:PORT`".into(),
            Self::Status { .. } => "check the address in your file".into(),
            Self::Broken { .. } => "repeat the command: the download resumes where it broke off".into(),
            Self::Checksum { .. } => {
                "nothing was kept; compare the checksum with the one that the vendor publishes, and do not use the file if it differs from that".into()
            }
            Self::TooLarge { .. } => "check the address in your file".into(),
        }
    }
}

/// What is known about a partial file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    url: String,
    /// ETag or date of the version, if the server sent one that can be compared.
    version: Option<String>,
}

/// A file to be downloaded.
pub(crate) struct Download<'a> {
    /// http or https.
    pub url: &'a str,
    /// What it must hash to.
    pub checksum: &'a Checksum,
    /// The store.
    pub root: &'a Path,
    /// Names the partial file; the caller holds a lock that keeps other processes away from it.
    pub key: &'a str,
    /// How to reach the server.
    pub outside: &'a Outside,
}

impl Download<'_> {
    fn partial(&self) -> PathBuf {
        self.root.join("downloads").join(format!("{}.partial", self.key))
    }

    fn note(&self) -> PathBuf {
        self.root.join("downloads").join(format!("{}.json", self.key))
    }

    /// Downloads and checks the file, and moves it to `to`, on the same disk.
    pub(crate) fn fetch(&self, to: &Path, progress: &dyn Progress) -> Result<(), DownloadError> {
        files::create_folder(&self.root.join("downloads"))?;
        loop {
            let resumed = self.transfer(progress)?;
            progress.event(Event::Step(format!("checking {}", self.url)));
            let got = self.checksum.of_same_kind(&self.partial())?;
            if got == *self.checksum {
                files::flush(&self.partial())?;
                files::publish(&self.partial(), to)?;
                files::remove_file(&self.note())?;
                return Ok(());
            }
            files::remove_file(&self.partial())?;
            files::remove_file(&self.note())?;
            // A file assembled from two attempts may mix two versions, so it gets one retry in one piece.
            if !resumed {
                return Err(DownloadError::Checksum { url: self.url.to_string(), wanted: self.checksum.clone(), got });
            }
            progress.event(Event::Note(format!("{} changed since the download started: starting over", self.url)));
        }
    }

    /// Completes the partial file; returns whether an earlier attempt had started it.
    fn transfer(&self, progress: &dyn Progress) -> Result<bool, DownloadError> {
        progress.event(Event::Step(format!("downloading {}", self.url)));
        let agent = self.outside.agent(self.url);
        let mut resumed = false;
        let mut fruitless = 0;
        loop {
            let before = length(&self.partial());
            let outcome = self.attempt(&agent, progress)?;
            match outcome {
                Attempt::Whole { joined } => return Ok(resumed || joined),
                Attempt::Broken { joined, total, reason } => {
                    resumed = resumed || joined;
                    let got = length(&self.partial());
                    fruitless = if got > before { 0 } else { fruitless + 1 };
                    if fruitless == FRUITLESS {
                        return Err(DownloadError::Broken { url: self.url.to_string(), got, total, reason });
                    }
                    progress.event(Event::Note(format!("{}: connection broken after {got} bytes, resuming", self.url)));
                }
            }
        }
    }

    fn attempt(&self, agent: &ureq::Agent, progress: &dyn Progress) -> Result<Attempt, DownloadError> {
        let partial = self.partial();
        let note: Note = fs::read(self.note()).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let mut have = length(&partial);
        if note.url != self.url {
            have = 0;
        }
        let mut request = agent.get(self.url);
        if have > 0 {
            request = request.header("range", format!("bytes={have}-"));
            if let Some(version) = &note.version {
                request = request.header("if-range", version);
            }
        }
        let mut response = match request.call() {
            Ok(response) => response,
            // Retry if the server closes the connection immediately, but not if the server cannot be found.
            Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Ok(Attempt::Broken { joined: false, total: None, reason: error.to_string() });
            }
            Err(error) => return Err(unreachable(self.url, &error)),
        };
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_string);
        let ranged = header("content-range").and_then(|text| content_range(&text));
        let status = response.status().as_u16();
        let joined = match (status, ranged) {
            (206, Some((Some(start), _))) if start == have => true,
            (200, _) => false,
            // The part is already the whole file, or longer than the file is now.
            (416, Some((_, Some(total)))) if total == have => {
                return Ok(Attempt::Whole { joined: true });
            }
            (206 | 416, _) if have > 0 => {
                files::remove_file(&partial)?;
                return Ok(Attempt::Broken { joined: false, total: None, reason: "the server cannot resume".into() });
            }
            (500..=599 | 408 | 429, _) if have > 0 => {
                return Ok(Attempt::Broken { joined: true, total: None, reason: format!("the server returned status {status}") });
            }
            _ => {
                return Err(DownloadError::Status { url: self.url.to_string(), status });
            }
        };
        if !joined {
            have = 0;
        }
        let rest = header("content-length").and_then(|text| text.parse::<u64>().ok());
        let total = rest.map(|rest| rest + have);
        // A weak ETag cannot be used with If-Range.
        let version = header("etag").filter(|tag| !tag.starts_with("W/")).or_else(|| header("last-modified"));
        let text = serde_json::to_vec(&Note { url: self.url.to_string(), version }).unwrap_or_default();
        files::replace(&self.note(), &text)?;
        crate::space::require(self.url, &partial, rest.unwrap_or(0))?;

        let mut file =
            File::options().create(true).write(true).truncate(!joined).append(joined).open(&partial).map_err(at("open", &partial))?;
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 128 << 10];
        let mut told: Option<Instant> = None;
        loop {
            let broken = |reason: String| Ok(Attempt::Broken { joined, total, reason });
            let n = match body.read(&mut buffer) {
                Ok(0) if total.is_none_or(|total| total == have) => break,
                Ok(0) => return broken("closed too early".into()),
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return broken(error.to_string()),
            };
            file.write_all(&buffer[..n]).map_err(at("write", &partial))?;
            have += n as u64;
            if told.is_none_or(|told| told.elapsed() >= REPORT) {
                told = Some(Instant::now());
                progress.event(Event::Bytes { done: have, total });
            }
        }
        progress.event(Event::Bytes { done: have, total });
        Ok(Attempt::Whole { joined })
    }
}

/// Outcome of one request.
enum Attempt {
    /// The file is complete; `joined`: an earlier attempt had started it.
    Whole { joined: bool },
    /// The connection broke.
    Broken { joined: bool, total: Option<u64>, reason: String },
}

/// Reads a small file into memory.
pub(crate) fn fetch_small(url: &str, outside: &Outside) -> Result<Vec<u8>, DownloadError> {
    let mut response = outside.agent(url).get(url).call().map_err(|error| unreachable(url, &error))?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(DownloadError::Status { url: url.to_string(), status });
    }
    let mut bytes = Vec::new();
    let read = response.body_mut().as_reader().take(SMALL + 1).read_to_end(&mut bytes);
    read.map_err(|error| DownloadError::Unreachable { url: url.to_string(), reason: error.to_string() })?;
    if bytes.len() as u64 > SMALL {
        return Err(DownloadError::TooLarge { url: url.to_string() });
    }
    Ok(bytes)
}

fn unreachable(url: &str, error: &ureq::Error) -> DownloadError {
    DownloadError::Unreachable { url: url.to_string(), reason: without_password(&error.to_string()) }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// `bytes 5-9/10` or `bytes */10`: first byte and total (RFC 9110, 14.4).
fn content_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.parse().ok());
    Some((start, total.parse().ok()))
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
