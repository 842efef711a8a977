//! Choices, versions, times, queries.

use super::{Call, Outcome, bad};
use crate::data::Data;
use crate::{python, version};

pub(super) const FILTERS: super::Table = &[
    ("version", |call| versions(call)),
    ("version_compare", |call| versions(call)),
    ("json_query", json_query),
    ("to_datetime", |call| Ok(call.input.clone())),
    ("strftime", strftime),
    ("undef", |call| Err(bad(call.text()))),
    ("vault", |_| Err(bad("vault is not supported"))),
];

fn versions(call: &mut Call) -> Outcome {
    let other = python::str_of(call.need(0, "version")?);
    let operator = call.text_arg(1, "operator").unwrap_or_else(|| "eq".to_owned());
    version::holds(&call.text(), &other, &operator).map(Data::Bool).map_err(bad)
}

fn json_query(call: &mut Call) -> Outcome {
    let query = python::str_of(call.need(0, "expr")?);
    let failed = |error: jmespath::JmespathError| bad(format!("json_query: {error}"));
    let compiled = jmespath::compile(&query).map_err(failed)?;
    let data = jmespath::Variable::from_json(&call.input.to_json().to_string()).map_err(bad)?;
    let result = compiled.search(data).map_err(failed)?;
    let value: serde_json::Value = serde_json::from_str(&result.to_string()).map_err(|error| bad(error.to_string()))?;
    Ok(Data::from_json(&value))
}

fn strftime(call: &mut Call) -> Outcome {
    let seconds = match call.arg(0, "second") {
        Some(second) => super::numbers::real(second).ok_or_else(|| bad("Invalid value for epoch value"))?,
        None => crate::controller::Controller::current().now("strftime"),
    };
    Ok(Data::from(crate::clock::format(seconds, &call.text())))
}
