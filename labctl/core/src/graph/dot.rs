//! A lab for Graphviz.

use std::fmt::Write;

use labctl_spec::lab::Lab;

use super::{frames, network};

/// The picture in Graphviz's language.
pub fn dot(lab: &Lab) -> String {
    let mut out = format!("graph {} {{\n  node [shape=box];\n", quoted(lab.name.as_str()));
    // Writing to a string cannot fail.
    let _ = writeln!(out, "  network [shape=ellipse, label={}];", quoted(&network(lab)));
    for (position, frame) in frames(lab).iter().enumerate() {
        let inside = !frame.label.is_empty();
        if inside {
            let _ = writeln!(out, "  subgraph cluster_{position} {{\n    label={};", quoted(&frame.label));
        }
        for card in &frame.cards {
            let lines: Vec<&str> = std::iter::once(card.name.as_str()).chain(card.lines.iter().map(String::as_str)).collect();
            let _ = writeln!(out, "    {} [label={}];", quoted(&card.name), quoted(&lines.join("\n")));
        }
        if inside {
            out.push_str("  }\n");
        }
        for card in &frame.cards {
            let _ = writeln!(out, "  network -- {};", quoted(&card.name));
        }
    }
    out.push('}');
    out
}

/// Text in quotes; Graphviz gives a backslash a meaning of its own.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::lab;

    #[test]
    fn every_node_hangs_on_the_network() {
        let text = dot(&lab());
        assert!(text.starts_with("graph \"g\" {\n") && text.ends_with("\n}"), "{text}");
        assert!(text.contains("  subgraph cluster_0 {\n    label=\"servers, consul\";\n    \"s\" [label=\"s\\n10.99.7.10\\n"), "{text}");
        assert_eq!(text.matches("  network -- ").count(), 5);
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }
}
