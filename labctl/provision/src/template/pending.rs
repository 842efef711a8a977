//! Tracks undefined values and their uses.
//!
//! Jinja's undefined values raise an error as soon as they are compared, tested for truth, iterated or printed, but may be passed to
//! `default` or `is defined`. minijinja has no hook for comparisons and truth tests, so this works the other way round: each undefined
//! value is recorded when it is created and removed when a filter or test that accepts undefined values has received it. A value left at
//! the end of an evaluation was really used, and the evaluation fails.
//!
//! A macro's declaration reads every variable that its body mentions, whether the body will use it or not. A value that is undefined then
//! is recorded only when it is tested for truth or iterated; printing it and passing it to a filter fails in any case.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use minijinja::{Environment, UndefinedBehavior};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Undefined values created in one evaluation: id and message.
type Noted = Vec<(u64, Arc<str>)>;

thread_local! {
    /// One list of undefined values (id, message) per evaluation in progress on this thread; evaluations nest.
    static NOTED: RefCell<Vec<Noted>> = const { RefCell::new(Vec::new()) };
    /// Whether a macro is being declared on this thread.
    static DECLARING: Cell<bool> = const { Cell::new(false) };
}

/// Sets whether the declaration of a macro is in progress.
pub(crate) fn declare(declares: bool) {
    DECLARING.set(declares);
}

/// A value that does not exist; its attributes are the value itself.
pub(crate) struct Undefined {
    id: u64,
    pub message: Arc<str>,
    /// Created in the declaration of a macro.
    declared: bool,
}

impl fmt::Debug for Undefined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Undefined")
    }
}

impl Object for Undefined {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, _key: &Value) -> Option<Value> {
        Some(Value::from_dyn_object(self.clone()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        if self.declared {
            note(self);
        }
        Enumerator::NonEnumerable
    }

    fn is_true(self: &Arc<Self>) -> bool {
        if self.declared {
            note(self);
        }
        false
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Undefined")
    }
}

/// Starts an evaluation; ended by dropping it.
pub(crate) struct Evaluation {
    /// Whether the enclosing evaluation was declaring a macro.
    declaring: bool,
}

impl Evaluation {
    pub(crate) fn open() -> Self {
        NOTED.with(|noted| noted.borrow_mut().push(Vec::new()));
        Self { declaring: DECLARING.replace(false) }
    }

    /// The first undefined value that was really used.
    pub(crate) fn first(&self) -> Option<Arc<str>> {
        NOTED.with(|noted| noted.borrow().last().and_then(|list| list.first().map(|(_, message)| message.clone())))
    }

    /// How many evaluations are open on this thread.
    pub(crate) fn depth() -> usize {
        NOTED.with(|noted| noted.borrow().len())
    }
}

impl Drop for Evaluation {
    fn drop(&mut self) {
        DECLARING.set(self.declaring);
        NOTED.with(|noted| {
            noted.borrow_mut().pop();
        });
    }
}

/// Creates and records an undefined value.
pub(crate) fn undefined(message: impl Into<Arc<str>>) -> Value {
    let value = Undefined { id: NEXT.fetch_add(1, Ordering::Relaxed), message: message.into(), declared: DECLARING.get() };
    if !value.declared {
        note(&value);
    }
    Value::from_object(value)
}

fn note(value: &Undefined) {
    NOTED.with(|noted| {
        if let Some(list) = noted.borrow_mut().last_mut()
            && !list.iter().any(|(id, _)| *id == value.id)
        {
            list.push((value.id, value.message.clone()));
        }
    });
}

/// Whether the value is undefined; does not count as use.
pub(crate) fn is_undefined(value: &Value) -> bool {
    value.is_undefined() || value.downcast_object_ref::<Undefined>().is_some()
}

/// Whether the value is that of `x if false` without `else`, which is empty text when printed and in filters. minijinja only distinguishes
/// it from other undefined values by printing it where those raise an error.
pub(crate) fn is_nothing(value: &Value) -> bool {
    thread_local! {
        static ASKED: RefCell<Value> = const { RefCell::new(Value::UNDEFINED) };
    }
    static STRICT: LazyLock<Environment> = LazyLock::new(|| {
        let mut strict = Environment::empty();
        strict.set_undefined_behavior(UndefinedBehavior::Strict);
        strict.add_function("asked", || ASKED.with(|asked| asked.borrow().clone()));
        strict
    });
    if !value.is_undefined() {
        return false;
    }
    ASKED.set(value.clone());
    STRICT.render_str("{{ asked() }}", ()).is_ok()
}

/// The message of an undefined value.
pub(crate) fn message_of(value: &Value) -> Option<Arc<str>> {
    if value.is_undefined() {
        let nothing = is_nothing(value);
        return Some(Arc::from(if nothing { "an inline `if` is false and has no `else`" } else { "a value is undefined" }));
    }
    value.downcast_object_ref::<Undefined>().map(|undefined| undefined.message.clone())
}

/// Marks the value as accepted by something that allows undefined values.
pub(crate) fn accept(value: &Value) {
    if let Some(undefined) = value.downcast_object_ref::<Undefined>() {
        NOTED.with(|noted| {
            for list in noted.borrow_mut().iter_mut() {
                list.retain(|(id, _)| *id != undefined.id);
            }
        });
    }
}

/// The value is passed on into the expression.
pub(crate) fn release(value: &Value) {
    if let Some(undefined) = value.downcast_object_ref::<Undefined>() {
        note(undefined);
    }
}
