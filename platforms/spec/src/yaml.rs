//! A YAML document as a tree in which every key and value knows its place.
//!
//! Scalars keep their text as written (`0755` stays `0755`), because the reader of a field knows its
//! type and YAML does not.
//! Bounded in bytes, nodes (aliases count each time they are used) and depth.
//! Deliberately absent: tags that change a value's type, several documents, keys that are not text.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::problem::{Collector, Place};

/// A longer text is refused.
pub const MAX_BYTES: usize = 1024 * 1024;

/// More keys and values than this are refused, which ends "billion laughs" early.
pub const MAX_NODES: usize = 50_000;

/// Deeper nesting is refused.
pub const MAX_DEPTH: usize = 32;

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it starts.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Any other scalar, as written.
    Text(String),
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping in the order of the file; no key occurs twice.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it starts.
    pub place: Place,
    /// The key.
    pub name: String,
}

/// Reads the one document of `text`; what is wrong goes to `problems`.
pub fn parse(text: &str, problems: &mut Collector<'_>) -> Option<Node> {
    let start = Place { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        let what = format!("{} bytes; at most {MAX_BYTES} are read", text.len());
        problems.add(start, "", what, None);
        return None;
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => builder.event(event, place(span)),
            Err(error) => Err(Fault {
                place: place(Span::empty(*error.marker())),
                what: format!("not YAML: {}", error.info()),
                help: None,
            }),
        };
        if let Err(fault) = step {
            problems.add(fault.place, "", fault.what, fault.help);
            return None;
        }
    }
    if builder.root.is_none() {
        problems.add(start, "", "the file is empty", None);
    }
    builder.root
}

fn place(span: Span) -> Place {
    Place {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

struct Fault {
    place: Place,
    what: String,
    help: Option<String>,
}

impl Fault {
    fn new(place: Place, what: impl Into<String>) -> Self {
        let what = what.into();
        let help = None;
        Self { place, what, help }
    }
}

/// A collection that is still open.
struct Open {
    place: Place,
    anchor: usize,
    parts: Parts,
}

enum Parts {
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>, Option<Key>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// Anchored nodes with the number of nodes that they hold.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Fault> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.document(place),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::Scalar(text, style, anchor, tag) => {
                plain_tag(tag.as_deref(), place)?;
                self.complete(scalar(&text, style, place), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                plain_tag(tag.as_deref(), place)?;
                self.begin(place, anchor, Parts::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                plain_tag(tag.as_deref(), place)?;
                self.begin(place, anchor, Parts::Mapping(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
    }

    fn document(&mut self, place: Place) -> Result<(), Fault> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(Fault::new(place, "a second document; one file holds one"));
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Fault> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(Fault::new(place, "an alias inside the node that it names"));
        };
        let (mut node, size) = (node.clone(), *size);
        if is_merge_pending(&self.open) {
            // A merged mapping keeps the places of the keys that are merged.
        } else {
            node.place = place;
        }
        self.count(size, place)?;
        self.complete(node, 0)
    }

    fn begin(&mut self, place: Place, anchor: usize, parts: Parts) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(place, format!("nested deeper than {MAX_DEPTH}")));
        }
        self.open.push(Open {
            place,
            anchor,
            parts,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let open = self.open.pop().expect("the parser balances start and end");
        let value = match open.parts {
            Parts::Sequence(items) => Value::Sequence(items),
            Parts::Mapping(entries, _) => Value::Mapping(merged(entries)?),
        };
        let place = open.place;
        self.complete(Node { place, value }, open.anchor)
    }

    /// A node is whole: it becomes a key, a value, an item or the document.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.count(1, node.place)?;
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size(&node)));
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.root = Some(node),
            Some(Parts::Sequence(items)) => items.push(node),
            Some(Parts::Mapping(entries, pending)) => match pending.take() {
                Some(key) => entries.push((key, node)),
                None => *pending = Some(key(node, entries)?),
            },
        }
        Ok(())
    }

    fn count(&mut self, more: usize, place: Place) -> Result<(), Fault> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            let what = format!("more than {MAX_NODES} keys and values");
            return Err(Fault::new(place, what));
        }
        Ok(())
    }
}

fn is_merge_pending(open: &[Open]) -> bool {
    let parts = open.last().map(|open| &open.parts);
    matches!(parts, Some(Parts::Mapping(_, Some(key))) if key.name == MERGE)
}

const MERGE: &str = "<<";

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Text(_) => 1,
        Value::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Mapping(entries) => {
            1 + entries
                .iter()
                .map(|(_, node)| 1 + size(node))
                .sum::<usize>()
        }
    }
}

fn scalar(text: &str, style: ScalarStyle, place: Place) -> Node {
    let null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    let value = if null {
        Value::Null
    } else {
        Value::Text(text.to_owned())
    };
    Node { place, value }
}

/// Tags of YAML's own schema say nothing that the field's reader does not know.
fn plain_tag(tag: Option<&Tag>, place: Place) -> Result<(), Fault> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => Err(Fault {
            place,
            what: format!("unsupported tag {tag}"),
            help: Some("write the value without a tag".to_owned()),
        }),
        Some(_) | None => Ok(()),
    }
}

fn key(node: Node, entries: &[(Key, Node)]) -> Result<Key, Fault> {
    let place = node.place;
    let name = match node.value {
        Value::Text(name) => name,
        Value::Null => return Err(Fault::new(place, "a key without a name")),
        Value::Sequence(_) | Value::Mapping(_) => {
            return Err(Fault::new(place, "a key must be text"));
        }
    };
    if let Some((first, _)) = entries.iter().find(|(key, _)| key.name == name) {
        let what = format!("{name:?} occurs twice; first in line {}", first.place.line);
        return Err(Fault::new(place, what));
    }
    Ok(Key { place, name })
}

/// Puts what `<<` names below the mapping's own keys.
fn merged(entries: Vec<(Key, Node)>) -> Result<Vec<(Key, Node)>, Fault> {
    let (merges, mut own): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(key, _)| key.name == MERGE);
    for (_, node) in merges {
        let place = node.place;
        let sources = match node.value {
            Value::Sequence(items) => items,
            Value::Mapping(_) | Value::Null | Value::Text(_) => vec![node],
        };
        for source in sources {
            let Value::Mapping(more) = source.value else {
                return Err(Fault::new(
                    place,
                    "<< must name a mapping or a list of them",
                ));
            };
            for (key, node) in more {
                if own.iter().all(|(known, _)| known.name != key.name) {
                    own.push((key, node));
                }
            }
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        let mut problems = Collector::new("f.yaml", text);
        let node = parse(text, &mut problems);
        problems
            .finish(node)
            .map(Option::unwrap)
            .map_err(|p| p.to_string())
    }

    fn text(node: &Node, path: &[&str]) -> String {
        let found = path.iter().fold(node, |node, name| match &node.value {
            Value::Mapping(entries) => &entries.iter().find(|(k, _)| k.name == *name).unwrap().1,
            other => panic!("{other:?}"),
        });
        match &found.value {
            Value::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_text_and_their_place() {
        let node = read("a:\n  mode: 0755\n  on: yes\n").unwrap();
        assert_eq!(text(&node, &["a", "mode"]), "0755");
        assert_eq!(text(&node, &["a", "on"]), "yes");
    }

    #[test]
    fn merged_keys_lie_below_the_mappings_own() {
        let node = read("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n").unwrap();
        assert_eq!(text(&node, &["y", "a"]), "1");
        assert_eq!(text(&node, &["y", "b"]), "3");
    }

    #[test]
    fn a_key_that_occurs_twice_is_refused_with_both_places() {
        let error = read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(error, "f.yaml:3:1: \"a\" occurs twice; first in line 1");
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let names = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb += &format!("a{level}: &a{level} [{names}]\n");
        }
        assert!(read(&bomb).unwrap_err().contains("more than 50000"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        assert!(read(&deep).unwrap_err().contains("nested deeper"));
        assert!(read(&"[".repeat(400_000)).is_err());
    }

    #[test]
    fn an_alias_inside_its_own_anchor_is_refused() {
        assert!(read("a: &a [*a]\n").unwrap_err().contains("alias"));
    }

    #[test]
    fn a_second_document_and_a_foreign_tag_are_refused() {
        assert!(
            read("a: 1\n---\nb: 2\n")
                .unwrap_err()
                .contains("second document")
        );
        assert!(
            read("a: !secret b\n")
                .unwrap_err()
                .contains("unsupported tag")
        );
    }
}
