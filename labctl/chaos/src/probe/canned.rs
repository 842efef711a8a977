//! A lab with prepared responses, for tests of probes.

use std::collections::BTreeMap;
use std::time::Duration;

use labctl_spec::network::EdgeCounters;
use labctl_spec::scenario::Check;
use labctl_wire::UnitState;

use super::{Answer, ask};
use crate::target::{BoxFuture, ExecAnswer, FaultError, HttpAnswer, Mishap, ProbeTarget};

/// Responses to `PORT PATH`; everything else is refused.
#[derive(Default)]
pub(super) struct Canned {
    pub http: BTreeMap<String, (u16, String)>,
    pub exec: ExecAnswer,
}

impl Canned {
    pub(super) fn answer(mut self, at: &str, status: u16, body: &str) -> Self {
        self.http.insert(at.to_owned(), (status, body.to_owned()));
        self
    }

    pub(super) async fn ask(&self, check: Check) -> Answer {
        ask(&check, self, Duration::from_secs(1)).await
    }
}

fn unused<T>() -> BoxFuture<'static, Result<T, FaultError>> {
    Box::pin(async { Err(FaultError::new("probes only query")) })
}

impl ProbeTarget for Canned {
    fn units<'a>(&'a self, _: &'a str, _: &'a [String]) -> BoxFuture<'a, Result<Vec<UnitState>, FaultError>> {
        unused()
    }

    fn http<'a>(&'a self, node: &'a str, port: u16, path: &'a str, _: Duration) -> BoxFuture<'a, Result<HttpAnswer, FaultError>> {
        Box::pin(async move {
            match self.http.get(&format!("{port} {path}")) {
                Some((status, body)) => Ok(HttpAnswer { status: *status, body: body.clone().into_bytes() }),
                None => Err(FaultError::new(format!("{node}:{port}{path} refuses"))),
            }
        })
    }

    fn tcp<'a>(&'a self, node: &'a str, port: u16, _: Duration) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            match port {
                22 => Ok(()),
                _ => Err(FaultError::new(format!("{node}:{port} refuses"))),
            }
        })
    }

    fn exec<'a>(&'a self, _: &'a str, argv: &'a [String], _: Duration) -> BoxFuture<'a, Result<ExecAnswer, FaultError>> {
        Box::pin(async move {
            match argv.first().map(String::as_str) {
                Some("missing") => Err(FaultError::new("missing: no such program")),
                _ => Ok(self.exec.clone()),
            }
        })
    }

    fn impaired<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<EdgeCounters, FaultError>> {
        unused()
    }

    fn mishap(&self) -> BoxFuture<'_, Mishap> {
        Box::pin(std::future::pending())
    }
}
