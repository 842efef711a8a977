//! The value of a text with templates in it that gives out nothing but one expression, such as
//! `{% set all = [] %}{% for ... %}{% set _ = all.append(...) %}{% endfor %}{{ all }}`: that expression's value, of whatever type.

use std::cell::RefCell;

use minijinja::value::{Value, ValueKind};

/// What a template has given out.
#[derive(Default)]
struct Given {
    /// Number of expressions that gave something, be it an empty text.
    count: usize,
    /// The last one that is no text, and how it is written; none if a text came last.
    last: Option<(Value, String)>,
}

thread_local! {
    /// One per rendering under way on this thread; none for files, which are always text.
    static GIVEN: RefCell<Vec<Option<Given>>> = const { RefCell::new(Vec::new()) };
}

/// A rendering; it ends when this is dropped.
pub(super) struct Rendering(());

impl Rendering {
    /// Of a text in a playbook.
    pub(super) fn of_text() -> Self {
        GIVEN.with(|given| given.borrow_mut().push(Some(Given::default())));
        Self(())
    }

    /// Of a file.
    pub(super) fn of_file() -> Self {
        GIVEN.with(|given| given.borrow_mut().push(None));
        Self(())
    }

    /// The value of what was rendered as `text`, unless it is that text: nothing at all is null.
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

/// An expression gave a value, written so.
pub(super) fn gave(value: &Value, written: &str) {
    GIVEN.with(|given| {
        if let Some(Some(given)) = given.borrow_mut().last_mut() {
            given.count += 1;
            given.last = (!matches!(value.kind(), ValueKind::String | ValueKind::Undefined)).then(|| (value.clone(), written.to_owned()));
        }
    });
}
