//! Network faults: directed edges of the switch lose, delay or cut frames until they are mended.

mod cut;
mod delay;
mod loss;

use std::time::Duration;

use labctl_spec::network::{Edge, EdgeCounters, End, Impairment};
use labctl_spec::scenario::Between;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Fault, FaultReport, Groups, Injected, Injection, Scene, as_details, bounded};
use crate::ids::next_id;
use crate::impaired::ImpairedEdges;
use crate::options::Options;
use crate::page::Page;
use crate::pick;
use crate::target::{BoxFuture, FaultError, Target};
use crate::undo::Undo;

pub(crate) use cut::cut;
pub(crate) use delay::delay;
pub(crate) use loss::loss;

/// Details of a network fault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkDetails {
    /// The impaired edges, such as `client1 -> root-server`.
    pub edges: Vec<String>,
    /// What the impairment did to frames, over all edges; none if unknown.
    pub frames: Option<EdgeCounters>,
}

/// The name in a list of names that stands for everything beyond the switch.
const OUTSIDE: &str = "outside";

/// The nodes (or the uplink) at one end of a step's edges.
fn ends(names: &[String], groups: &Groups) -> Result<Vec<End>, FaultError> {
    let (outside, names): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| *name == OUTSIDE);
    let nodes = match names.is_empty() {
        true => Vec::new(),
        false => pick::resolve(&names.into_iter().cloned().collect::<Vec<_>>(), groups)?,
    };
    let node = |name: String| name.parse().map(End::Node).map_err(|why: labctl_spec::ident::BadName| FaultError::new(why.to_string()));
    let mut ends = nodes.into_iter().map(node).collect::<Result<Vec<End>, _>>()?;
    if !outside.is_empty() {
        ends.push(End::Uplink);
    }
    Ok(ends)
}

/// The directed edges between the two ends of a step, each once.
fn edges(between: &Between, groups: &Groups) -> Result<Vec<Edge>, FaultError> {
    let (from, to) = (ends(&between.from, groups)?, ends(&between.to, groups)?);
    let mut edges = Vec::new();
    for one in &from {
        for other in to.iter().filter(|other| *other != one) {
            edges.push(Edge { from: one.clone(), to: other.clone() });
            if !between.one_way {
                edges.push(Edge { from: other.clone(), to: one.clone() });
            }
        }
    }
    edges.sort();
    edges.dedup();
    match edges.is_empty() {
        true => Err(FaultError::new(format!("there is no edge {}: a node has no edge to itself", text(between)))
            .hint("name different nodes in `from` and `to`")),
        false => Ok(edges),
    }
}

/// The ends as text: `between servers and clients`, or `from servers to clients`.
fn text(between: &Between) -> String {
    let (from, to) = (between.from.join(", "), between.to.join(", "));
    match between.one_way {
        true => format!("from {from} to {to}"),
        false => format!("between {from} and {to}"),
    }
}

/// How to determine whether an impairment had an effect.
#[derive(Clone, Copy)]
struct Effect {
    /// The counter that proves an effect.
    of: fn(&EdgeCounters) -> u64,
    /// What to report if it is zero.
    none: &'static str,
}

/// A step that impairs edges until its lease is closed. Each kind has a function that makes one.
pub(crate) struct Network {
    kind: &'static str,
    /// What is wrong with the edges, in words.
    what: String,
    between: Between,
    impairment: Impairment,
    effect: Effect,
}

impl Fault for Network {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn text(&self) -> String {
        format!("{} {}", self.what, text(&self.between))
    }

    fn check(&self, groups: &Groups) -> Result<(), FaultError> {
        edges(&self.between, groups).map(drop)
    }

    fn length(&self, options: &Options) -> Duration {
        options.fire_limit
    }

    fn lasts(&self) -> Option<Duration> {
        self.between.lasts.map(bounded)
    }

    fn inject<'a>(&'a self, scene: &'a Scene<'a>, step: usize, rest: Duration) -> BoxFuture<'a, Result<Injection, FaultError>> {
        Box::pin(self.impair(scene, step, rest))
    }
}

impl Network {
    async fn impair(&self, scene: &Scene<'_>, step: usize, rest: Duration) -> Result<Injection, FaultError> {
        let edges = edges(&self.between, scene.groups)?;
        let id = format!("{:020}", next_id());
        let impairment = Impairment { seed: seed(scene, step), ..self.impairment.clone() };
        let impaired = ImpairedEdges { id: id.clone(), edges: edges.clone(), impairment };
        let length = rest.saturating_add(self.lasts().unwrap_or_default()).saturating_add(scene.options.lease_margin);
        let lease = scene.lease(self.text(), Undo::Mend(impaired.clone()), length)?;
        scene.target.impair(&impaired).await?;
        let at = Instant::now();
        let mut nodes: Vec<String> = edges.iter().flat_map(|edge| [name(&edge.from), name(&edge.to)]).collect();
        nodes.sort();
        nodes.dedup();
        let report = FaultReport {
            step,
            kind: self.kind.to_owned(),
            text: self.text(),
            candidates: nodes.clone(),
            picked: nodes,
            injected_ms: Some(scene.since_start(at)),
            no_effect: None,
            details: serde_json::Map::new(),
        };
        let words = |edge: &Edge| format!("{} -> {}", name(&edge.from), name(&edge.to));
        let details = NetworkDetails { edges: edges.iter().map(words).collect(), frames: None };
        let fault = Box::new(Impaired { report, details, id, effect: self.effect });
        Ok(Injection { lease: Some(lease), at: Some((at, at)), ..Injection::nothing(fault) })
    }
}

fn name(end: &End) -> String {
    match end {
        End::Node(node) => node.to_string(),
        End::Uplink => OUTSIDE.to_owned(),
    }
}

/// The seed for an edge's random choices: different for each step of each run.
fn seed(scene: &Scene<'_>, step: usize) -> u64 {
    scene.options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(step as u64)
}

/// An impairment that was injected.
struct Impaired {
    report: FaultReport,
    details: NetworkDetails,
    id: String,
    effect: Effect,
}

impl Injected for Impaired {
    fn observe<'a>(&'a mut self, target: &'a dyn Target) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // Without an answer nothing is known, which does not prove that it had no effect.
            let Ok(frames) = target.impaired(&self.id).await else { return };
            self.details.frames = Some(frames);
            self.report.no_effect = ((self.effect.of)(&frames) == 0).then(|| self.effect.none.to_owned());
        })
    }

    fn report(&self) -> FaultReport {
        FaultReport { details: as_details(&self.details), ..self.report.clone() }
    }
}

/// Shows the details of a network fault.
pub(crate) fn show(report: &FaultReport, page: &mut Page) {
    /// Limit on the edges that are listed individually.
    const MOST: usize = 6;
    let Some(NetworkDetails { edges, frames }) = report.details() else { return };
    let more = edges.len().saturating_sub(MOST);
    let listed = edges.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    page.line(format!("  edges: {listed}{}", if more > 0 { format!(" and {more} more") } else { String::new() }));
    if let Some(frames) = frames {
        let EdgeCounters { matched, dropped, delayed, .. } = frames;
        page.line(format!("  frames: {matched} matched, {dropped} dropped, {delayed} delayed"));
    }
}
