//! The `diff` of a result, as in Ansible.

use serde_json::{Value, json};

/// Texts longer than this are not shown (Ansible's own limit, `MAX_FILE_SIZE_FOR_DIFF`).
pub(crate) const LONGEST: usize = 104_448;

/// A difference in contents; binary or very long contents are mentioned but not shown.
pub(crate) fn contents(path: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> Value {
    let mut diff = json!({"before_header": path, "after_header": path});
    for (key, large, bytes) in [("before", "dst_larger", before), ("after", "src_larger", after)] {
        match bytes.map(std::str::from_utf8) {
            None => diff[key] = "".into(),
            Some(_) if bytes.is_some_and(|bytes| bytes.len() > LONGEST) => {
                diff[large] = LONGEST.into();
            }
            Some(Ok(text)) if !text.contains('\0') => diff[key] = text.into(),
            Some(_) => diff[if key == "before" { "dst_binary" } else { "src_binary" }] = 1.into(),
        }
    }
    diff
}

/// A difference in texts.
pub(crate) fn texts(path: &str, before: &str, after: &str) -> Value {
    contents(path, Some(before.as_bytes()), Some(after.as_bytes()))
}
