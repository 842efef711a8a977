//! Guests that keep writing to their memory, and detect when it is not what they left: an idle guest hides what a snapshot loses.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Sandbox, until};

/// Writes an increasing number into each page of a block of memory, round after round, and checks before each write that the page still
/// holds what the previous round left there. Records each page that does not, and every round.
pub const PROGRAM: &str = "my $pages = (shift) << 8; my $memory = qq(\\0) x ($pages << 12); my ($next, $round) = (1, 0); \
    open my $lost, '>>', '/run/writer.lost'; select $lost; $| = 1; open my $rounds, '>', '/run/writer.rounds'; \
    while (1) { for my $page (0 .. $pages - 1) { \
        my $found = unpack 'Q', substr $memory, $page << 12, 8; my $expected = $round ? $next - $pages : 0; \
        print qq(page $page holds $found instead of $expected\\n) if $found != $expected; \
        substr($memory, $page << 12, 8) = pack 'Q', $next++ } \
      $round++; seek $rounds, 0, 0; syswrite $rounds, qq($round\\n) }";

/// Nodes of a lab with a writer each.
pub struct Writers<'a> {
    sandbox: &'a Sandbox,
    lab: &'a str,
    /// Boot ids by node.
    boots: BTreeMap<String, String>,
}

impl<'a> Writers<'a> {
    /// Starts a writer of that many MiB on each of the nodes, and waits until all are working.
    ///
    /// # Panics
    /// If one does not start.
    pub fn start(sandbox: &'a Sandbox, lab: &'a str, nodes: &[&str], mib: u32) -> Self {
        let mib = mib.to_string();
        for node in nodes {
            sandbox.good(&["--lab", lab, "exec", node, "--", "systemd-run", "-q", "--unit=writer", "perl", "-e", PROGRAM, &mib]);
        }
        Self::started(sandbox, lab, nodes)
    }

    /// Nodes on which [`PROGRAM`] was started some other way.
    ///
    /// # Panics
    /// If one does not work.
    pub fn started(sandbox: &'a Sandbox, lab: &'a str, nodes: &[&str]) -> Self {
        let mut writers = Self { sandbox, lab, boots: BTreeMap::new() };
        writers.boots = nodes.iter().map(|node| ((*node).to_owned(), writers.boot_id(node))).collect();
        writers.work_on();
        writers
    }

    /// The same nodes in a clone of the lab.
    #[must_use]
    pub fn cloned(&self, lab: &'a str) -> Self {
        Self { lab, sandbox: self.sandbox, boots: self.boots.clone() }
    }

    /// Every writer keeps working, no page went back in time, and no node was booted since.
    ///
    /// # Panics
    /// If any of this does not hold; the message names the node.
    pub fn assert_whole(&self) {
        for (node, boot) in &self.boots {
            assert_eq!(self.boot_id(node), *boot, "{node} has booted");
        }
        self.work_on();
        for node in self.boots.keys() {
            let lost = self.read(node, "/run/writer.lost");
            let first = lost.lines().next().unwrap_or_default();
            assert!(lost.is_empty(), "{node}: {} pages went back in time: {first}", lost.lines().count());
        }
    }

    /// Waits until every writer has checked each of its pages twice.
    fn work_on(&self) {
        let rounds = |node: &str| -> u64 {
            let read = self.sandbox.run(&["--lab", self.lab, "exec", node, "--", "cat", "/run/writer.rounds"]);
            String::from_utf8_lossy(&read.stdout).trim().parse().unwrap_or(0)
        };
        let begun: Vec<(&String, u64)> = self.boots.keys().map(|node| (node, rounds(node))).collect();
        for (node, before) in begun {
            until(&format!("the writer on {node} goes on"), Duration::from_secs(120), || rounds(node) >= before + 2);
        }
    }

    fn boot_id(&self, node: &str) -> String {
        self.read(node, "/proc/sys/kernel/random/boot_id")
    }

    fn read(&self, node: &str, file: &str) -> String {
        self.sandbox.good(&["--lab", self.lab, "exec", node, "--", "cat", file])
    }
}
