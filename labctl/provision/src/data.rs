//! Values of variables: what YAML and JSON can hold, plus strings that are still templates.
//!
//! Only text from playbooks, inventories and variables files becomes a [`Data::Tpl`]; results of modules, facts and lookups are plain
//! [`Data::Str`] and are never evaluated, whatever braces they contain.

use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::value::Value;

/// A mapping in source order. Keys that are numbers in YAML are kept as text.
pub type Dict = IndexMap<Arc<str>, Data>;

/// Where a text was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The file; empty for the command line.
    pub file: Arc<str>,
    /// Line, from 1; 0 if unknown.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 { write!(f, "{}", self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

/// A string that has not been evaluated yet.
#[derive(Debug)]
pub struct Tpl {
    /// The text.
    pub source: Arc<str>,
    /// Where it was written.
    pub place: Place,
}

/// One value.
#[derive(Debug, Clone, Default)]
pub enum Data {
    /// None.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Final text.
    Str(Arc<str>),
    /// Text that is still a template.
    Tpl(Arc<Tpl>),
    /// A list.
    List(Arc<Vec<Data>>),
    /// A mapping.
    Map(Arc<Dict>),
    /// The value of `omit`: an argument with this value is left out.
    Omit,
    /// Values that exist only in templates: macros, namespaces, undefined values, lazily built objects.
    Opaque(Value),
}

/// Whether the text contains template markers.
pub fn is_template(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| matches!(pair, b"{{" | b"{%" | b"{#"))
}

impl Data {
    /// Final text.
    pub fn str(text: impl AsRef<str>) -> Self {
        Self::Str(Arc::from(text.as_ref()))
    }

    /// Text from a file: a template if it contains template markers.
    pub fn text(text: &str, place: &Place) -> Self {
        if is_template(text) {
            Self::Tpl(Arc::new(Tpl { source: Arc::from(text), place: place.clone() }))
        } else {
            Self::Str(Arc::from(text))
        }
    }

    /// A list.
    pub fn list(items: Vec<Data>) -> Self {
        Self::List(Arc::new(items))
    }

    /// A mapping.
    pub fn map(dict: Dict) -> Self {
        Self::Map(Arc::new(dict))
    }

    /// The text of a string, evaluated or not.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            Self::Tpl(tpl) => Some(&tpl.source),
            _ => None,
        }
    }

    /// The mapping.
    pub fn as_map(&self) -> Option<&Arc<Dict>> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The list.
    pub fn as_list(&self) -> Option<&Arc<Vec<Data>>> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Data> {
        self.as_map().and_then(|map| map.get(key))
    }

    /// Whether it contains a template, at any depth.
    pub fn has_template(&self) -> bool {
        match self {
            Self::Tpl(_) => true,
            Self::List(list) => list.iter().any(Data::has_template),
            Self::Map(map) => map.values().any(Data::has_template),
            _ => false,
        }
    }

    /// Python's truth value.
    pub fn truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Tpl(tpl) => !tpl.source.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Omit => true,
            Self::Opaque(value) => value.is_true(),
        }
    }

    /// Ansible's conversion of keywords and module arguments to a truth value: yes, on, 1, true, y, t and their opposites.
    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Int(0) => Some(false),
            Self::Int(1) => Some(true),
            Self::Float(value) if *value == 0.0 => Some(false),
            Self::Float(value) if *value == 1.0 => Some(true),
            Self::Str(text) => match text.trim().to_ascii_lowercase().as_str() {
                "yes" | "on" | "1" | "true" | "y" | "t" | "1.0" => Some(true),
                "no" | "off" | "0" | "false" | "n" | "f" | "0.0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// Python's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) | Self::Tpl(_) => "str",
            Self::List(_) => "list",
            Self::Map(_) => "dict",
            Self::Omit => "Omit",
            Self::Opaque(_) => "object",
        }
    }

    /// From JSON; never a template.
    pub fn from_json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(int) => Self::Int(int),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Self::str(text),
            serde_json::Value::Array(items) => Self::list(items.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(map) => Self::map(dict_from_json(map)),
        }
    }

    /// From JSON of a trusted source: strings with template markers are templates.
    pub fn from_trusted_json(value: &serde_json::Value, place: &Place) -> Self {
        match value {
            serde_json::Value::String(text) => Self::text(text, place),
            serde_json::Value::Array(items) => Self::list(items.iter().map(|item| Self::from_trusted_json(item, place)).collect()),
            serde_json::Value::Object(map) => {
                Self::map(map.iter().map(|(key, value)| (Arc::from(key.as_str()), Self::from_trusted_json(value, place))).collect())
            }
            other => Self::from_json(other),
        }
    }

    /// To JSON. Templates are written as their source; objects that exist only in templates, as their text.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null | Self::Omit => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Float(value) => serde_json::Number::from_f64(*value).map_or(serde_json::Value::Null, Into::into),
            Self::Str(text) => text.as_ref().into(),
            Self::Tpl(tpl) => tpl.source.as_ref().into(),
            Self::List(list) => list.iter().map(Self::to_json).collect(),
            Self::Map(map) => serde_json::Value::Object(dict_to_json(map)),
            Self::Opaque(value) => value.to_string().into(),
        }
    }
}

/// A JSON object as a mapping without templates.
pub fn dict_from_json(map: &serde_json::Map<String, serde_json::Value>) -> Dict {
    map.iter().map(|(key, value)| (Arc::from(key.as_str()), Data::from_json(value))).collect()
}

/// A mapping as a JSON object.
pub fn dict_to_json(map: &Dict) -> serde_json::Map<String, serde_json::Value> {
    map.iter().map(|(key, value)| (key.to_string(), value.to_json())).collect()
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) | (Self::Omit, Self::Omit) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Bool(a), Self::Int(b)) | (Self::Int(b), Self::Bool(a)) => i64::from(*a) == *b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Int(a), Self::Float(b)) | (Self::Float(b), Self::Int(a)) => *a as f64 == *b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            _ => matches!((self.as_str(), other.as_str()), (Some(a), Some(b)) if a == b),
        }
    }
}

impl From<bool> for Data {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Data {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<usize> for Data {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        Self::str(text)
    }
}

impl From<String> for Data {
    fn from(text: String) -> Self {
        Self::str(text)
    }
}

impl<T: Into<Data>> From<Vec<T>> for Data {
    fn from(items: Vec<T>) -> Self {
        Self::list(items.into_iter().map(Into::into).collect())
    }
}
