//! The value of a text with templates whose only output is one expression, such as `{% set all = [] %}{% for ... %}{% set _ =
//! all.append(...) %}{% endfor %}{{ all }}`: the value of that expression, whatever its type.

use std::cell::RefCell;

use minijinja::value::{Value, ValueKind};

/// What a template has output.
#[derive(Default)]
struct Given {
    /// Number of expressions with output, even if it was empty text.
    count: usize,
    /// The last one that is not text, and its written form; none if text came last.
    last: Option<(Value, String)>,
}

thread_local! {
    /// One per rendering in progress on this thread; none for files, which are always text.
    static GIVEN: RefCell<Vec<Option<Given>>> = const { RefCell::new(Vec::new()) };
}

/// A rendering; ended by dropping it.
pub(super) struct Rendering(());

impl Rendering {
    /// Renders a text in a playbook.
    pub(super) fn of_text() -> Self {
        GIVEN.with(|given| given.borrow_mut().push(Some(Given::default())));
        Self(())
    }

    /// Renders a file.
    pub(super) fn of_file() -> Self {
        GIVEN.with(|given| given.borrow_mut().push(None));
        Self(())
    }

    /// The value that was rendered as `text`, unless it is that text; null if there was no output at all.
    pub(super) fn value(&self, text: &str) -> Option<Value> {
        GIVEN.with(|given| match given.borrow_mut().last_mut() {
            Some(Some(Given { count: 0, .. })) if text.is_empty() => Some(Value::from(())),
            Some(Some(Given { last, .. })) => last.take().filter(|(_, written)| written == text).map(|(value, _)| value),
            _ => None,
        })
    }
}

impl Drop for Rendering {
    fn drop(&mut self) {
        GIVEN.with(|given| {
            given.borrow_mut().pop();
        });
    }
}

/// Records that an expression had a value, written as `written`.
pub(super) fn gave(value: &Value, written: &str) {
    GIVEN.with(|given| {
        if let Some(Some(given)) = given.borrow_mut().last_mut() {
            given.count += 1;
            given.last = (!matches!(value.kind(), ValueKind::String | ValueKind::Undefined)).then(|| (value.clone(), written.to_owned()));
        }
    });
}
