//! Tests of `arguments`.

use serde_json::json;

use super::*;

const PARAMS: &[Param] = &[
    path("path").must().aka(&["dest", "name"]),
    flag("force"),
    on("follow"),
    text("state").of(&["present", "absent"]).or("present"),
    list("groups"),
    int("count"),
];

fn check(args: Value) -> Result<Arguments, String> {
    let Value::Object(args) = args else { panic!("not an object") };
    Arguments::check("demo", &args, PARAMS, false).map_err(|fault| fault.msg)
}

#[test]
fn aliases_defaults_and_words_for_booleans() {
    let args = check(json!({"dest": "/x", "force": "yes", "groups": "a, b", "count": "3"})).unwrap();
    assert_eq!(args.text("path"), Some("/x"));
    assert!(args.flag("force") && args.flag("follow"));
    assert_eq!(args.list("groups"), ["a", "b"]);
    assert_eq!(args.int("count"), Some(3));
    assert_eq!(args.str("state"), "present");
}

#[test]
fn faults_read_like_ansibles() {
    assert_eq!(
        check(json!({"path": "/x", "foo": 1})).unwrap_err(),
        "Unsupported parameters for (demo) module: foo. Supported parameters include: count, follow, force, groups, path, state (dest, name)."
    );
    assert_eq!(check(json!({})).unwrap_err(), "missing required arguments: path");
    assert_eq!(check(json!({"path": "/x", "state": "bogus"})).unwrap_err(), "value of state must be one of: present, absent, got: bogus");
    assert!(
        check(json!({"path": "/x", "force": "maybe"})).unwrap_err().starts_with(
            "argument 'force' is of type str and we were unable to convert to bool: The value 'maybe' is not a valid boolean."
        )
    );
}
