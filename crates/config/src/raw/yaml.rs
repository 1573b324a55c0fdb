//! YAML events into the tree.
//!
//! The tree is built from the parser's events and not from `MarkedYaml`: the ready-made loader recurses per nesting
//! level, stops at the first duplicate key and only bounds aliases, while here all duplicates are reported together
//! and depth is checked before a level is entered.

use std::collections::BTreeMap;

use saphyr::{Scalar as Resolved, ScalarStyle};
use saphyr_parser::{Event, Marker, Parser, Span};

use super::text::At;
use super::{Entry, MAX_DEPTH, MAX_NODES, Node, Scalar, Type, Value};
use crate::diag::{Report, may_hold_secret};

pub(super) fn read(text: &str, source: u16, report: &mut Report) -> Node {
    let start = At { source, line: 1, column: 1, length: 1, more: 0 };
    let mut tree = Tree { source, report, stack: Vec::new(), anchors: BTreeMap::new(), root: None, nodes: 0, depth: 0 };
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        match event {
            Ok((event, span)) => {
                if tree.event(event, span).is_break() {
                    tree.report.blind();
                    return Node { at: start, value: Value::Bad };
                }
            }
            Err(error) => {
                let at = At { length: 1, more: 0, ..place(source, *error.marker(), *error.marker()) };
                tree.report.blind();
                tree.report.error("syntax", at, format!("not valid YAML: {}", plain(error.info())), SYNTAX);
                return Node { at: start, value: Value::Bad };
            }
        }
    }
    match tree.root {
        Some(Node { value: Value::Scalar(Scalar { ty: Type::Null, .. }), at }) => Node::empty(at),
        Some(root) => root,
        None => Node::empty(start),
    }
}

/// What to try; the parser says where it gave up, which is often behind the cause.
const SYNTAX: &str = "check brackets, quotes and indentation here and on the line before";

/// The parser's words without the text it quotes, which could be a secret.
fn plain(info: &str) -> String {
    info.split(['\'', '"', '`']).step_by(2).collect::<Vec<_>>().join("...")
}

enum Open {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Keys seen, and the lines they are on.
        seen: BTreeMap<String, u32>,
        key: Option<(String, At)>,
        /// The key was refused; its value goes with it.
        skip: bool,
    },
}

/// A collection that is not closed yet.
struct Level {
    open: Open,
    at: At,
    anchor: usize,
    /// Counts of the tree when it was opened.
    nodes: usize,
    depth: usize,
}

struct Tree<'r> {
    source: u16,
    report: &'r mut Report,
    stack: Vec<Level>,
    anchors: BTreeMap<usize, (Node, usize, usize)>,
    root: Option<Node>,
    nodes: usize,
    /// Levels below the one that is open, as far as seen.
    depth: usize,
}

type Flow = std::ops::ControlFlow<()>;

impl Tree<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Flow {
        let at = place(self.source, span.start, span.end);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                self.report.error("syntax", at, "a second YAML document", "keep one document in the file");
                return Flow::Break(());
            }
            Event::SequenceStart(anchor, _) => return self.open(Open::List(Vec::new()), at, anchor),
            Event::MappingStart(anchor, _) => {
                return self.open(
                    Open::Map { entries: Vec::new(), seen: BTreeMap::new(), key: None, skip: false },
                    at,
                    anchor,
                );
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(span.end),
            Event::Scalar(text, style, anchor, tag) => {
                let ty = match Resolved::parse_from_cow_and_metadata(text.clone(), style, tag.as_ref()) {
                    Some(Resolved::Null) => Type::Null,
                    Some(Resolved::Boolean(_)) => Type::Bool,
                    Some(Resolved::Integer(_)) => Type::Int,
                    Some(Resolved::FloatingPoint(_)) => Type::Float,
                    Some(Resolved::String(_)) | None => Type::Text,
                };
                let literal = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let at = if literal { At { more: at.more.max(1), ..at } } else { at };
                let node = Node { at, value: Value::Scalar(Scalar { text: text.into_owned(), ty }) };
                return self.add(node, 1, 0, anchor);
            }
            Event::Alias(anchor) => {
                let Some((node, nodes, depth)) = self.anchors.get(&anchor).cloned() else {
                    self.report.error("syntax", at, "an alias inside its own anchor", "write the value out");
                    return Flow::Break(());
                };
                if self.stack.len() + depth > MAX_DEPTH {
                    return self.too_deep(at);
                }
                return self.add(node, nodes, depth, 0);
            }
            _ => {}
        }
        Flow::Continue(())
    }

    fn open(&mut self, open: Open, at: At, anchor: usize) -> Flow {
        if self.stack.len() >= MAX_DEPTH {
            return self.too_deep(at);
        }
        let depth = std::mem::take(&mut self.depth);
        self.stack.push(Level { open, at, anchor, nodes: self.nodes, depth });
        Flow::Continue(())
    }

    fn close(&mut self, end: Marker) -> Flow {
        let Some(level) = self.stack.pop() else { return Flow::Continue(()) };
        let (start, anchor) = (level.at, level.anchor);
        let value = match level.open {
            Open::List(items) => Value::List(items),
            Open::Map { entries, .. } => Value::Map(entries),
        };
        let more = u32::try_from(end.line()).unwrap_or(u32::MAX).saturating_sub(start.line);
        let length = if more == 0 { (end.col() as u32 + 1).saturating_sub(start.column).max(1) } else { start.length };
        let (nodes, depth) = (self.nodes - level.nodes + 1, self.depth + 1);
        self.nodes = level.nodes;
        self.depth = level.depth;
        self.add(Node { at: At { more, length: length.max(1), ..start }, value }, nodes, depth, anchor)
    }

    /// Puts a finished node of `nodes` nodes and `depth` levels where it belongs.
    fn add(&mut self, node: Node, nodes: usize, depth: usize, anchor: usize) -> Flow {
        self.nodes += nodes;
        self.depth = self.depth.max(depth);
        if self.nodes > MAX_NODES {
            let help = "write fewer aliases";
            self.report.error(
                "too-deep",
                node.at,
                format!("more than {MAX_NODES} values once aliases are expanded"),
                help,
            );
            return Flow::Break(());
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), nodes, depth));
        }
        let suspect = self.inside_suspect();
        let Some(Level { open, .. }) = self.stack.last_mut() else {
            self.root = Some(node);
            return Flow::Continue(());
        };
        match open {
            Open::List(items) => items.push(node),
            Open::Map { entries, seen, key, skip } => match key.take() {
                Some((key, at)) => {
                    if std::mem::take(skip) {
                        // Nothing will look at it, so nothing else would find a secret in it.
                        node.suspects(if suspect { "secret" } else { &key }, &mut |at| self.report.mask(at));
                    } else {
                        entries.push(Entry { key, at, value: node, aliased: false });
                    }
                }
                None => {
                    let Value::Scalar(scalar) = node.value else {
                        self.report.error("syntax", node.at, "a key that is not text", "use a plain word as the key");
                        return Flow::Break(());
                    };
                    if let Some(first) = seen.get(&scalar.text) {
                        let message = format!("`{}` is given twice; first on line {}", scalar.text, first);
                        self.report.error("duplicate-key", node.at, message, "keep one of the two");
                        *skip = true;
                    } else {
                        seen.insert(scalar.text.clone(), node.at.line);
                    }
                    *key = Some((scalar.text, node.at));
                }
            },
        }
        Flow::Continue(())
    }

    /// Whether a value is about to be dropped below a key that could hold a secret.
    fn inside_suspect(&self) -> bool {
        let key = |level: &Level| matches!(&level.open, Open::Map { key: Some((key, _)), .. } if may_hold_secret(key));
        let dropped = matches!(self.stack.last(), Some(Level { open: Open::Map { skip: true, .. }, .. }));
        dropped && self.stack.iter().any(key)
    }

    fn too_deep(&mut self, at: At) -> Flow {
        self.report.error("too-deep", at, format!("nested deeper than {MAX_DEPTH} levels"), "no key needs this depth");
        Flow::Break(())
    }
}

fn place(source: u16, start: Marker, end: Marker) -> At {
    let line = u32::try_from(start.line()).unwrap_or(u32::MAX).max(1);
    let column = u32::try_from(start.col()).unwrap_or(u32::MAX).saturating_add(1);
    let more = u32::try_from(end.line()).unwrap_or(u32::MAX).saturating_sub(line);
    let length = u32::try_from(end.col().saturating_sub(start.col())).unwrap_or(1).max(1);
    At { source, line, column, length, more }
}
