//! What a key may hold, as data.
//!
//! One table of fields serves the reader, the defaults, the overrides, `config --effective` and the JSON Schema, so
//! none of them can know a key that the others do not. Long and short forms are data too: `short` names the field that
//! a bare value sets, and the reader turns every short form into its long one before anything else looks at it.

use crate::values::Flaw;

/// A mapping with known keys.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    /// The field that a value sets which is no mapping.
    pub(crate) short: Option<&'static str>,
    /// In groups, so that a route and the default share theirs.
    pub(crate) fields: &'static [&'static [Field]],
    /// Literals in it may be secrets: never shown, whatever is wrong with them.
    pub(crate) secret: bool,
}

/// A key.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Other names for it, taken from the field (Gateway API).
    pub(crate) aliases: &'static [&'static str],
    pub(crate) kind: Kind,
    pub(crate) absent: Absent,
    pub(crate) doc: &'static str,
}

/// What holds when a key is not written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Absent {
    Required,
    /// This value, in YAML.
    Is(&'static str),
    /// No fixed value; the words say what happens.
    Means(&'static str),
}

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Kind {
    Bool,
    Int(u64, u64),
    /// At least this many milliseconds.
    Duration(u64),
    /// Bytes, inclusive bounds.
    Size(usize, usize),
    Share,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text of a form of its own.
    Form(&'static Form),
    List(&'static Kind),
    /// A list, or one item of it.
    OneOrMany(&'static Kind),
    /// A mapping with free keys.
    Map(&'static Form, &'static Kind),
    Table(&'static Table),
    /// `false`, or this.
    OrFalse(&'static Kind),
}

/// A scalar with a parser.
#[derive(Debug)]
pub(crate) struct Form {
    /// "a URL such as `https://api.example.com`".
    pub(crate) expect: &'static str,
    /// Whether a number or boolean may stand for its text.
    pub(crate) numbers: bool,
    pub(crate) check: fn(&str) -> Result<(), Flaw>,
}

impl Table {
    pub(crate) fn fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.fields.iter().flat_map(|group| group.iter())
    }

    /// The field of that name or alias.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields().find(|f| f.name == name || f.aliases.contains(&name))
    }

    /// The known name that `name` was probably meant to be.
    pub(crate) fn nearest(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.fields().map(|f| f.name))
    }
}

impl Kind {
    /// What to write, for people.
    pub(crate) fn expect(&self) -> String {
        match self {
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Int(least, most) if *most == u64::MAX => format!("a whole number, at least {least}"),
            Self::Int(least, most) => format!("a whole number from {least} to {most}"),
            Self::Duration(_) => "a duration such as `250ms` or `10s`".to_owned(),
            Self::Size(..) => "a size such as `64KiB`".to_owned(),
            Self::Share => "a share such as `20%`".to_owned(),
            Self::Word(words) => any_of(words.iter()),
            Self::Form(form) => form.expect.to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::OneOrMany(item) => format!("{}, or a list of these", item.expect()),
            Self::Map(..) => "a table of names and values".to_owned(),
            Self::Table(table) => match table.short.and_then(|short| table.field(short)) {
                Some(short) => format!("{}, or a table", short.kind.expect()),
                None => "a table".to_owned(),
            },
            Self::OrFalse(inner) => format!("{}, or `false`", inner.expect()),
        }
    }

    /// Without the `false` alternative.
    pub(crate) fn inner(&'static self) -> &'static Self {
        match self {
            Self::OrFalse(inner) => inner,
            other => other,
        }
    }
}

/// The keys of a table, for a message.
pub(crate) fn names(table: &Table) -> String {
    any_of(table.fields().map(|f| f.name))
}

/// "`a`, `b` or `c`".
fn any_of(names: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// The candidate closest to `name`, if it is close enough to be a slip.
pub(crate) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // The distance costs the product of both lengths, and no name of ours is this long.
    if name.len() > 64 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).clamp(1, 3))
        .map(|(_, candidate)| candidate)
}
