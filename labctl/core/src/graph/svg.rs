//! A lab as SVG: the host and the network on top, below them the frames of nodes, joined by one line.
//!
//! ```text
//! [ lab g ──────────── 10.99.7.0/24 ]      the network
//!  │
//!  ├────┬──────────┬───────────┐           one bus for each row
//!  │  ┌─┴─ servers ┴─┐  ┌──────┴─┐
//!  │  │ [s]     [t]  │  │ [c1]   │         frames of cards
//! ```
//! Colours are classes with a dark variant, so that a page's theme decides; a viewer that knows no media queries shows the light one.

use std::fmt::Write;

use labctl_spec::lab::Lab;

use super::{Card, Frame, frames, network};

/// Width of a character of the monospaced font at 12 px, rounded up.
const CHARACTER: usize = 8;
const LINE: usize = 18;
const GAP: usize = 16;
/// Height of a frame's label.
const LABEL: usize = 26;
/// The trunk runs in this margin.
const MARGIN: usize = 32;
/// Cards beyond this width start another row.
const WIDEST: usize = 1100;

const STYLE: &str = "\
.back{fill:#ffffff}.net{fill:#ddf4ff;stroke:#0969da}.frame{fill:#f6f8fa;stroke:#afb8c1}.card{fill:#ffffff;stroke:#57606a}\
.wire{stroke:#0969da;stroke-width:2;fill:none}\
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1f2328}.name{font-weight:bold}.label{fill:#57606a}.port{fill:#0550ae}\
@media (prefers-color-scheme:dark){\
.back{fill:#0d1117}.net{fill:#0c2d6b;stroke:#4493f8}.frame{fill:#151b23;stroke:#3d444d}.card{fill:#0d1117;stroke:#9198a1}\
.wire{stroke:#4493f8}text{fill:#f0f6fc}.label{fill:#9198a1}.port{fill:#79c0ff}}";

/// Where a frame stands, and how its cards are arranged in it.
struct Placed<'a> {
    frame: &'a Frame,
    x: usize,
    width: usize,
    columns: usize,
    /// Width of each card.
    card: usize,
}

/// The picture.
pub fn svg(lab: &Lab) -> String {
    let frames = frames(lab);
    let rows = rows(&frames);
    let right = rows.iter().flatten().map(|placed| placed.x + placed.width).max().unwrap_or(0);
    let title = format!("lab {}", lab.name);
    let line = network(lab);
    let width = right.max(MARGIN + (title.chars().count() + line.chars().count() + 6) * CHARACTER) + GAP;
    let mut body = String::new();
    rect(&mut body, "net", GAP, GAP, width - 2 * GAP, 36);
    text(&mut body, "name", 2 * GAP, GAP + 23, &title);
    text(&mut body, "label", 2 * GAP + (title.chars().count() + 2) * CHARACTER, GAP + 23, &line);
    let mut y = GAP + 36;
    let trunk = MARGIN - GAP / 2;
    let mut end = y;
    for row in &rows {
        let bus = y + GAP;
        let top = bus + GAP;
        let height = row.iter().map(height).max().unwrap_or(0);
        // The wires are drawn first, so that they end at what covers them.
        let last = row.iter().map(|placed| placed.x + placed.width / 2).max().unwrap_or(trunk);
        wire(&mut body, trunk, bus, last, bus);
        for placed in row {
            let middle = placed.x + placed.width / 2;
            wire(&mut body, middle, bus, middle, top);
            draw(&mut body, placed, top, height);
        }
        end = bus;
        y = top + height;
    }
    wire(&mut body, trunk, GAP + 36, trunk, end);
    let height = y + GAP;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n<rect class=\"back\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>",
        escaped(&format!("{title}: {line}"))
    )
}

/// Wide enough for the longest line of a frame's cards.
fn card_width(frame: &Frame) -> usize {
    let lines = frame.cards.iter().flat_map(|card| card.lines.iter().chain([&card.name]));
    lines.map(|line| line.chars().count()).max().unwrap_or(0) * CHARACTER + 2 * GAP
}

/// Puts the frames side by side, as far as they fit.
fn rows(frames: &[Frame]) -> Vec<Vec<Placed<'_>>> {
    let mut rows: Vec<Vec<Placed<'_>>> = Vec::new();
    let mut x = WIDEST;
    for frame in frames {
        let card = card_width(frame);
        let columns = frame.cards.len().min(((WIDEST - MARGIN - GAP) / (card + GAP)).max(1));
        let label = frame.label.chars().count() * CHARACTER + 2 * GAP;
        let width = (columns * (card + GAP) + GAP).max(label);
        if x + width > WIDEST {
            rows.push(Vec::new());
            x = MARGIN;
        }
        if let Some(row) = rows.last_mut() {
            row.push(Placed { frame, x, width, columns, card });
        }
        x += width + GAP;
    }
    rows
}

fn card_height(card: &Card) -> usize {
    (card.lines.len() + 1) * LINE + GAP
}

/// Heights of a frame's lines of cards.
fn heights(placed: &Placed<'_>) -> impl Iterator<Item = usize> {
    placed.frame.cards.chunks(placed.columns).map(|cards| cards.iter().map(card_height).max().unwrap_or(0))
}

fn height(placed: &Placed<'_>) -> usize {
    LABEL + heights(placed).map(|height| height + GAP).sum::<usize>()
}

/// A frame with its cards; its height is that of its row.
fn draw(body: &mut String, placed: &Placed<'_>, top: usize, height: usize) {
    rect(body, "frame", placed.x, top, placed.width, height);
    let label = if placed.frame.label.is_empty() { "no group" } else { placed.frame.label.as_str() };
    text(body, "label", placed.x + GAP, top + 18, label);
    let mut y = top + LABEL;
    for (cards, height) in placed.frame.cards.chunks(placed.columns).zip(heights(placed)) {
        for (column, shown) in cards.iter().enumerate() {
            let x = placed.x + GAP + column * (placed.card + GAP);
            rect(body, "card", x, y, placed.card, height);
            text(body, "name", x + GAP, y + LINE + 4, &shown.name);
            for (line, content) in shown.lines.iter().enumerate() {
                let class = if content.starts_with(['▸', ' ']) { "port" } else { "" };
                text(body, class, x + GAP, y + (line + 2) * LINE + 4, content);
            }
        }
        y += height + GAP;
    }
}

fn rect(body: &mut String, class: &str, x: usize, y: usize, width: usize, height: usize) {
    // Writing to a string cannot fail.
    let _ = writeln!(body, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>");
}

fn wire(body: &mut String, x1: usize, y1: usize, x2: usize, y2: usize) {
    let _ = writeln!(body, "<path class=\"wire\" d=\"M{x1} {y1}L{x2} {y2}\"/>");
}

fn text(body: &mut String, class: &str, x: usize, y: usize, content: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = writeln!(body, "<text{class} x=\"{x}\" y=\"{y}\" xml:space=\"preserve\">{}</text>", escaped(content));
}

/// Text in XML; characters that XML does not have are left out.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::lab;

    #[test]
    fn everything_is_in_the_picture_once_and_nothing_overlaps() {
        let text = svg(&lab());
        assert_eq!(text, svg(&lab()), "the same lab gives the same picture");
        for word in ["s", "t", "c1", "c2", "alone", "www.g.test", "▸ 8500, 8080:80", "servers, consul", "no group"] {
            assert_eq!(text.matches(&format!(">{word}</text>")).count(), 1, "{word}: {text}");
        }
        let cards = boxes(&text, "card");
        assert_eq!(cards.len(), 5);
        for (position, one) in cards.iter().enumerate() {
            assert!(boxes(&text, "frame").iter().any(|frame| contains(frame, one)), "{one:?} is in no frame");
            assert!(cards.iter().skip(position + 1).all(|other| !meets(one, other)), "{one:?} overlaps");
        }
        assert!(contains(&boxes(&text, "back")[0], &boxes(&text, "net")[0]));
    }

    #[test]
    fn many_nodes_make_rows_within_the_width() {
        let many = "name: m\nnodes: [{name: a, count: 40, groups: [x]}, {name: b, count: 3, groups: [y]}]\n";
        let text = svg(&labctl_spec::parse_lab(many, std::path::Path::new("/m/lab.yml")).unwrap());
        let back = boxes(&text, "back");
        let cards = boxes(&text, "card");
        assert_eq!(cards.len(), 43);
        assert!(cards.iter().all(|card| contains(&back[0], card)) && back[0][2] <= WIDEST + GAP, "{back:?}");
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("<a b=\"&\">\u{1b}\n"), "&lt;a b=&quot;&amp;&quot;&gt;");
    }

    /// Left, top, width and height of the rectangles of a class.
    fn boxes(text: &str, class: &str) -> Vec<[usize; 4]> {
        let number = |line: &str, name: &str| {
            let start = line.find(&format!(" {name}=\"")).map(|at| at + name.len() + 3);
            start.map_or(0, |start| line[start..].split('"').next().unwrap().parse().unwrap())
        };
        let lines = text.lines().filter(|line| line.starts_with(&format!("<rect class=\"{class}\"")));
        lines.map(|line| ["x", "y", "width", "height"].map(|name| number(line, name))).collect()
    }

    fn contains(outer: &[usize; 4], inner: &[usize; 4]) -> bool {
        let within = |at: usize| outer[at] <= inner[at] && inner[at] + inner[at + 2] <= outer[at] + outer[at + 2];
        within(0) && within(1)
    }

    fn meets(one: &[usize; 4], other: &[usize; 4]) -> bool {
        let along = |at: usize| one[at] < other[at] + other[at + 2] && other[at] < one[at] + one[at + 2];
        along(0) && along(1)
    }
}
