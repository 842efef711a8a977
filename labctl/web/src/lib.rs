//! The dashboard: a page on the host's loopback that shows a lab live. It only reads and changes nothing.
//!
//! ```text
//! browser ──GET /?token=T──▶ guard (Host, token) ──▶ page, which opens ──GET /api/stream──▶ feed ◀── lab (supervisor's socket, reports)
//! ```
//!
//! Anyone with the token can see the lab. The page comes from this program alone; no other server is contacted.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod feed;
mod guard;
mod lab;
mod pages;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::{Router, middleware};
use labctl_lab::{Failure, Kind};
use tokio::net::TcpListener;

pub use feed::{Feed, ReportLine, Update};
pub use lab::LabSource;

use guard::Guard;

/// What a dashboard shows.
pub trait Source: Send + Sync + 'static {
    /// The state and its events.
    fn feed(&self) -> &Feed;

    /// A scenario's report as text; `None` if there is none with that name.
    fn report(&self, name: &str) -> Option<String>;
}

/// A listening dashboard.
pub struct Dashboard {
    listener: TcpListener,
    address: SocketAddr,
    token: String,
}

impl Dashboard {
    /// Listens on 127.0.0.1; `port` 0 selects a free one.
    pub async fn bind(port: u16) -> Result<Self, Failure> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let failed = |why: std::io::Error| {
            let failure = Failure::new(Kind::Host, format!("the dashboard cannot listen on {wanted}: {why}"));
            match why.kind() {
                std::io::ErrorKind::AddrInUse => failure.hint("choose another --port, or none: then a free one is taken"),
                std::io::ErrorKind::PermissionDenied => failure.hint("choose a --port above 1023"),
                _ => failure,
            }
        };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, token: hex::encode(rand::random::<[u8; 32]>()) })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to open, including the token.
    pub fn url(&self) -> String {
        format!("http://{}/?token={}", self.address, self.token)
    }

    /// Serves until dropped.
    pub async fn serve(self, source: Arc<dyn Source>) -> Result<(), Failure> {
        let guard = Arc::new(Guard::new(&self.token, self.address.port()));
        // Also guards paths that do not exist, so that unauthorized requests learn nothing.
        let router: Router = pages::router(source).layer(middleware::from_fn_with_state(guard, guard::check));
        axum::serve(self.listener, router).await.map_err(Failure::io("serve the dashboard"))
    }
}
