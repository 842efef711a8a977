//! Network impairments that faults have put in force. Several on the same edge add up.

use std::collections::BTreeMap;

use labctl_chaos::{FaultError, ImpairedEdges, Journal, Undo};
use labctl_lab::identity::now_ns;
use labctl_lab::journal::FaultJournal;
use labctl_net::Switch;
use labctl_spec::network::{Edge, EdgeCounters, Impairment};

use crate::Supervisor;

/// The impairments in force by id, each with the counters of its edges when it started.
#[derive(Default)]
pub struct Impairments(BTreeMap<String, (ImpairedEdges, EdgeCounters)>);

impl Impairments {
    /// The combined impairment of an edge; none if there is none.
    fn of(&self, edge: &Edge) -> Option<Impairment> {
        let here = self.0.values().filter(|(impaired, _)| impaired.edges.contains(edge)).map(|(impaired, _)| &impaired.impairment);
        here.cloned().reduce(|one, other| both(&one, &other))
    }

    /// Updates the switch for these edges.
    async fn apply(&self, edges: &[Edge], switch: &Switch) {
        for edge in edges {
            match self.of(edge) {
                Some(impairment) => switch.adjust(edge.clone(), impairment).await,
                None => switch.heal(edge.clone()).await,
            }
        }
    }
}

/// Combines two impairments of one edge.
fn both(one: &Impairment, other: &Impairment) -> Impairment {
    let either = |one: f64, other: f64| 1.0 - (1.0 - one) * (1.0 - other);
    let rate = match (one.rate, other.rate) {
        (0, rate) | (rate, 0) => rate,
        (one, other) => one.min(other),
    };
    Impairment {
        cut: one.cut || other.cut,
        loss: either(one.loss, other.loss),
        delay: one.delay + other.delay,
        jitter: one.jitter + other.jitter,
        duplicate: either(one.duplicate, other.duplicate),
        reorder: either(one.reorder, other.reorder),
        corrupt: either(one.corrupt, other.corrupt),
        rate,
        seed: one.seed ^ other.seed,
    }
}

/// The sum of these edges' counters.
async fn counted(edges: &[Edge], switch: &Switch) -> EdgeCounters {
    let counters = switch.counters().await;
    let ours = counters.edges.into_iter().filter(|(edge, _)| edges.contains(edge));
    ours.fold(EdgeCounters::default(), |sum, (_, edge)| EdgeCounters {
        matched: sum.matched + edge.matched,
        dropped: sum.dropped + edge.dropped,
        delayed: sum.delayed + edge.delayed,
        duplicated: sum.duplicated + edge.duplicated,
        reordered: sum.reordered + edge.reordered,
        corrupted: sum.corrupted + edge.corrupted,
    })
}

/// What was counted since `before`. If the end of another fault healed the edge, counting starts from there.
fn since(now: EdgeCounters, before: EdgeCounters) -> EdgeCounters {
    EdgeCounters {
        matched: now.matched.saturating_sub(before.matched),
        dropped: now.dropped.saturating_sub(before.dropped),
        delayed: now.delayed.saturating_sub(before.delayed),
        duplicated: now.duplicated.saturating_sub(before.duplicated),
        reordered: now.reordered.saturating_sub(before.reordered),
        corrupted: now.corrupted.saturating_sub(before.corrupted),
    }
}

impl Supervisor {
    /// Puts an impairment in force; one that already is stays as it is.
    pub async fn impair(&self, impaired: ImpairedEdges) {
        let mut all = self.impairments.lock().await;
        if all.0.contains_key(&impaired.id) {
            return;
        }
        let before = counted(&impaired.edges, &self.switch).await;
        let edges = impaired.edges.clone();
        all.0.insert(impaired.id.clone(), (impaired, before));
        all.apply(&edges, &self.switch).await;
    }

    /// Lifts an impairment, if it is in force.
    pub async fn mend(&self, id: &str) {
        let mut all = self.impairments.lock().await;
        if let Some((impaired, _)) = all.0.remove(id) {
            all.apply(&impaired.edges, &self.switch).await;
        }
    }

    /// What an impairment that is in force has done to frames so far.
    ///
    /// # Errors
    /// It is not in force.
    pub async fn impaired(&self, id: &str) -> Result<EdgeCounters, FaultError> {
        let all = self.impairments.lock().await;
        let (impaired, before) = all.0.get(id).ok_or_else(|| FaultError::new("this network impairment is not in force"))?;
        Ok(since(counted(&impaired.edges, &self.switch).await, *before))
    }

    /// Puts the impairments that a dead supervisor left in the journal in force again. The switch died with it, but the faults have not
    /// expired.
    pub(crate) async fn impair_again(&self) {
        let now = now_ns() / 1_000_000;
        for lease in FaultJournal::new(&self.home).open().unwrap_or_default() {
            if let Undo::Mend(impaired) = lease.undo
                && lease.expires_unix_ms > now
            {
                self.impair(impaired).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use labctl_spec::network::End;

    use super::*;

    fn edge(from: &str, to: &str) -> Edge {
        Edge { from: End::Node(from.parse().unwrap()), to: End::Node(to.parse().unwrap()) }
    }

    #[test]
    fn impairments_of_one_edge_add_up() {
        let slow = Impairment { delay: Duration::from_millis(100), rate: 8, ..Impairment::default() };
        let lossy = Impairment { loss: 0.5, delay: Duration::from_millis(20), ..Impairment::default() };
        let all = both(&both(&slow, &lossy), &lossy);
        assert_eq!((all.loss, all.delay, all.rate, all.cut), (0.75, Duration::from_millis(140), 8, false));
        assert!(both(&lossy, &Impairment { cut: true, ..Impairment::default() }).cut);
    }

    #[test]
    fn an_edge_has_what_the_faults_on_it_say() {
        let mut all = Impairments::default();
        for (id, edges, loss) in [("1", vec![edge("a", "b"), edge("b", "a")], 0.5), ("2", vec![edge("a", "b")], 0.5)] {
            let impairment = Impairment { loss, ..Impairment::default() };
            all.0.insert(id.into(), (ImpairedEdges { id: id.into(), edges, impairment }, EdgeCounters::default()));
        }
        let loss = |all: &Impairments, from, to| all.of(&edge(from, to)).map(|impairment| impairment.loss);
        assert_eq!((loss(&all, "a", "b"), loss(&all, "b", "a"), loss(&all, "b", "c")), (Some(0.75), Some(0.5), None));
        all.0.remove("1");
        assert_eq!((loss(&all, "a", "b"), loss(&all, "b", "a")), (Some(0.5), None));
    }
}
