//! `template`: rendered on the controller, written on the host.

use super::remote::Parcel;
use super::{Action, Done, Stop};
use crate::data::{Data, Dict};
use crate::python;
use crate::template::Syntax;

/// Options that change the template syntax.
const SYNTAX: &[&str] = &[
    "block_start_string",
    "block_end_string",
    "variable_start_string",
    "variable_end_string",
    "comment_start_string",
    "comment_end_string",
    "trim_blocks",
    "lstrip_blocks",
];

/// Text up to this size is sent with the call; larger text only if its digest differs.
const INLINE: usize = 64 << 10;

impl Action {
    pub(super) async fn template(&self) -> Done {
        let src = self.need("src")?;
        let mut dest = self.need("dest")?;
        let path = self.local_file("templates", &src)?;
        let bytes = self.scope.controller().read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("Template source file ({}) is not utf-8", path.display()))?;
        let (mut syntax, body) = Syntax::from_header(&text);
        for name in SYNTAX {
            if let Some(value) = self.text(name) {
                syntax.set(name, &value);
            }
        }
        let newline = match self.text("newline_sequence").as_deref() {
            None | Some("\n" | "\\n") => "\n",
            Some("\r" | "\\r") => "\r",
            Some("\r\n" | "\\r\\n") => "\r\n",
            Some(other) => {
                return Err(Stop::Failed(format!("newline_sequence needs to be one of: \\n, \\r or \\r\\n, not {other:?}")));
            }
        };
        let name = path.display().to_string();
        let mut vars = Dict::new();
        vars.insert("template_path".into(), Data::str(&name));
        vars.insert("template_fullpath".into(), Data::str(&name));
        vars.insert("template_destpath".into(), Data::str(&dest));
        vars.insert("template_host".into(), Data::str("labctl"));
        vars.insert("template_uid".into(), Data::str("root"));
        vars.insert("template_run_date".into(), Data::text("{{ __run_date() }}", &self.task.place));
        if self.scope.get("ansible_managed").is_none() {
            vars.insert("ansible_managed".into(), Data::str("Ansible managed"));
        }
        let scope = self.scope.with(vars);
        let rendered = scope.engine.render_file(&name, &body, &syntax, &scope).map_err(|error| error.to_string())?;
        let rendered = if newline == "\n" { rendered } else { rendered.replace('\n', newline) };
        if dest.ends_with('/') {
            dest.push_str(&path.file_name().unwrap_or_default().to_string_lossy());
        }
        let mut args = self.args_without(SYNTAX);
        for gone in ["src", "newline_sequence", "output_encoding"] {
            args.shift_remove(gone);
        }
        args.insert("dest".into(), dest.into());
        // A mode written as a bare YAML number was already read as octal.
        if let Some(mode) = args.get("mode").cloned() {
            args.insert("mode".into(), mode_text(&mode));
        }
        if rendered.len() <= INLINE {
            args.insert("content".into(), rendered.into());
            return self.remote("template", args).await;
        }
        self.deliver("template", args, Parcel::of_bytes(rendered.into_bytes())).await
    }
}

/// A file mode in the form that the agent expects: numbers stay numbers, text stays text.
fn mode_text(mode: &Data) -> Data {
    match mode {
        Data::Int(_) => mode.clone(),
        other => Data::from(python::str_of(other)),
    }
}
