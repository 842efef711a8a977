//! Variables as template values: containers that evaluate their templates only when an element is read.

use std::fmt;
use std::sync::{Arc, Mutex};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::pending;
use super::scope::Scope;
use crate::data::{Data, Dict};
use crate::python;

/// Marker for `omit`.
#[derive(Debug)]
struct OmitMark;

impl Object for OmitMark {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// A mapping of variables.
pub(crate) struct MapValue {
    pub map: Arc<Dict>,
    scope: Arc<Scope>,
}

/// A list of variables.
pub(crate) struct ListValue {
    pub list: Arc<Vec<Data>>,
    scope: Arc<Scope>,
}

/// A list or mapping created by `{% set %}`, which methods may change.
#[derive(Debug)]
pub(crate) struct Mutable {
    pub items: Mutex<MutableItems>,
}

/// The content of a [`Mutable`].
#[derive(Debug, Clone)]
pub(crate) enum MutableItems {
    List(Vec<Value>),
    Map(indexmap::IndexMap<String, Value>),
}

/// Computes the value of a key.
type Getter = Box<dyn Fn(&str) -> Option<Value> + Send + Sync>;

/// A mapping whose values are computed on demand, such as `hostvars`.
pub(crate) struct LazyMap {
    pub keys: Box<dyn Fn() -> Vec<Arc<str>> + Send + Sync>,
    pub get: Getter,
    /// The type name in messages about a missing key.
    pub kind: &'static str,
}

impl fmt::Debug for LazyMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)
    }
}

impl Object for LazyMap {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (self.get)(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        Some((self.get)(key).unwrap_or_else(|| pending::undefined(format!("object of type '{}' has no attribute '{key}'", self.kind))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values((self.keys)().into_iter().map(Value::from).collect())
    }
}

impl LazyMap {
    /// Everything in it that can be evaluated.
    pub(crate) fn expand(&self) -> Data {
        let mut dict = Dict::new();
        for key in (self.keys)() {
            let evaluation = pending::Evaluation::open();
            let Some(value) = (self.get)(&key).and_then(|value| from_value(&value).ok()) else {
                continue;
            };
            let value = match &value {
                Data::Opaque(inner) => match inner.downcast_object_ref::<LazyMap>() {
                    Some(inner) if inner.kind != self.kind => inner.expand(),
                    _ => continue,
                },
                _ => value,
            };
            if evaluation.first().is_none() {
                dict.insert(key, value);
            }
        }
        Data::map(dict)
    }
}

impl fmt::Debug for MapValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&python::repr(&resolve_quietly(&Data::Map(self.map.clone()), &self.scope)))
    }
}

impl fmt::Debug for ListValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&python::repr(&resolve_quietly(&Data::List(self.list.clone()), &self.scope)))
    }
}

fn resolve_quietly(data: &Data, scope: &Arc<Scope>) -> Data {
    scope.resolve(data).unwrap_or_else(|_| data.clone())
}

/// The text form of a key, which may be a number.
pub(crate) fn key_text(key: &Value) -> Option<Arc<str>> {
    match key.kind() {
        ValueKind::String => key.to_str(),
        ValueKind::Number | ValueKind::Bool => Some(Arc::from(key.to_string())),
        _ => None,
    }
}

impl Object for MapValue {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.map.get(&*key_text(key)?).map(|data| to_value(data, &self.scope))
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        Some(match self.map.get(key) {
            Some(data) => to_value(data, &self.scope),
            None => pending::undefined(format!("object of type 'dict' has no attribute '{key}'")),
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.map.keys().map(|key| Value::from(key.clone())).collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.map.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Object for ListValue {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.list.get(key.as_usize()?).map(|data| to_value(data, &self.scope))
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        Some(pending::undefined(format!("object of type 'list' has no attribute '{key}'")))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.list.len())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.list.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Whether a list or mapping comes from a variable, as a whole or in part: its items are evaluated on demand.
pub(crate) fn is_variable(value: &Value) -> bool {
    value.downcast_object_ref::<MapValue>().is_some()
        || value.downcast_object_ref::<ListValue>().is_some()
        || value.downcast_object_ref::<LazyMap>().is_some()
}

impl Mutable {
    /// A mutable copy of a list or mapping; none for other values, and for one that is already mutable.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        if value.downcast_object_ref::<Self>().is_some() {
            return None;
        }
        let items = match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => MutableItems::List(value.try_iter().ok()?.collect()),
            ValueKind::Map => {
                let pairs = value.as_object()?.try_iter_pairs()?;
                MutableItems::Map(pairs.map(|(key, item)| (key.to_string(), item)).collect())
            }
            _ => return None,
        };
        Some(Self { items: Mutex::new(items) })
    }

    /// Values created by the template itself are mutable inside a mutable one: `x.list.append(1)`. They are converted on access. Variables
    /// are left alone: their templates are evaluated one by one.
    pub(super) fn opened(item: &mut Value) -> Value {
        if !is_variable(item)
            && !item.is_tuple()
            && matches!(item.kind(), ValueKind::Seq | ValueKind::Map)
            && let Some(mutable) = Self::of(item)
        {
            *item = Value::from_object(mutable);
        }
        item.clone()
    }
}

impl Object for Mutable {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match &*self.items.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            MutableItems::List(_) => ObjectRepr::Seq,
            MutableItems::Map(_) => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match &mut *self.items.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            MutableItems::List(list) => list.get_mut(key.as_usize()?).map(Self::opened),
            MutableItems::Map(map) => map.get_mut(&*key_text(key)?).map(Self::opened),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &*self.items.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            MutableItems::List(list) => Enumerator::Seq(list.len()),
            MutableItems::Map(map) => Enumerator::Values(map.keys().map(Value::from).collect()),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match from_value(&Value::from_dyn_object(self.clone())) {
            Ok(data) => f.write_str(&python::repr(&data)),
            Err(_) => f.write_str("..."),
        }
    }
}

/// Data as a template value; a template is evaluated now if it is the value itself, later if it is inside.
pub(crate) fn to_value(data: &Data, scope: &Arc<Scope>) -> Value {
    match data {
        Data::Null => Value::from(()),
        Data::Bool(value) => Value::from(*value),
        Data::Int(value) => Value::from(*value),
        Data::Float(value) => Value::from(*value),
        Data::Str(text) => Value::from(text.clone()),
        Data::Tpl(tpl) => match scope.engine.evaluate_nested(tpl, scope) {
            Ok(value) => value,
            Err(error) if error.undefined => pending::undefined(error.message),
            Err(error) => Value::from(Error::new(ErrorKind::InvalidOperation, error.message)),
        },
        Data::List(list) => Value::from_object(ListValue { list: list.clone(), scope: scope.clone() }),
        Data::Map(map) => Value::from_object(MapValue { map: map.clone(), scope: scope.clone() }),
        Data::Omit => Value::from_object(OmitMark),
        Data::Opaque(value) => value.clone(),
    }
}

/// A template value as data, with everything in it evaluated. An undefined value is kept ([`Data::Opaque`]) at the top and is an error
/// inside.
pub(crate) fn from_value(value: &Value) -> Result<Data, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined => Data::Opaque(value.clone()),
        ValueKind::None => Data::Null,
        ValueKind::Bool => Data::Bool(value.is_true()),
        ValueKind::Number => match value.as_i64() {
            Some(int) if value.is_integer() => Data::Int(int),
            _ => Data::Float(f64::try_from(value.clone())?),
        },
        ValueKind::String => Data::Str(value.to_str().unwrap_or_default()),
        ValueKind::Bytes => Data::str(String::from_utf8_lossy(value.as_bytes().unwrap_or_default())),
        ValueKind::Map => {
            if let Some(map) = value.downcast_object_ref::<MapValue>() {
                return map.scope.resolve(&Data::Map(map.map.clone())).map_err(Error::from);
            }
            if value.downcast_object_ref::<LazyMap>().is_some() {
                return Ok(Data::Opaque(value.clone()));
            }
            let mut dict = Dict::new();
            if let Some(object) = value.as_object() {
                for (key, item) in object.try_iter_pairs().into_iter().flatten() {
                    let name = key_text(&key).unwrap_or_else(|| Arc::from(key.to_string()));
                    // Omitted values are dropped, at any depth.
                    match element(&item)? {
                        Data::Omit => {}
                        item => {
                            dict.insert(name, item);
                        }
                    }
                }
            }
            Data::map(dict)
        }
        ValueKind::Seq | ValueKind::Iterable => {
            if let Some(list) = value.downcast_object_ref::<ListValue>() {
                return list.scope.resolve(&Data::List(list.list.clone())).map_err(Error::from);
            }
            let mut items = Vec::new();
            for item in value.try_iter()?.checked() {
                match element(&item?)? {
                    Data::Omit => {}
                    item => items.push(item),
                }
            }
            Data::list(items)
        }
        ValueKind::Invalid => {
            return Err(Error::new(ErrorKind::InvalidOperation, value.to_string()));
        }
        _ if value.downcast_object_ref::<OmitMark>().is_some() => Data::Omit,
        _ => Data::Opaque(value.clone()),
    })
}

fn element(value: &Value) -> Result<Data, Error> {
    if pending::is_nothing(value) {
        return Ok(Data::str(""));
    }
    if let Some(message) = pending::message_of(value) {
        return Err(Error::new(ErrorKind::UndefinedError, message.to_string()));
    }
    from_value(value)
}
