//! The help of every command, as users see it.

use clap::Command;

/// The command's help and that of those below it.
fn help(command: &mut Command, path: &str, out: &mut String) {
    let rule = "=".repeat(path.len());
    let text = command.render_long_help().to_string();
    let text: Vec<&str> = text.lines().map(str::trim_end).collect();
    out.push_str(&format!("{path}\n{rule}\n{}\n\n\n", text.join("\n")));
    for below in command.get_subcommands_mut().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        let path = format!("{path} {}", below.get_name());
        help(below, &path, out);
    }
}

#[test]
fn the_help_of_every_command() {
    let mut out = String::new();
    // The width of the terminal must not matter.
    let mut cli = super::habits::command().term_width(100).version("VERSION");
    cli.build();
    help(&mut cli, "labctl", &mut out);
    insta::assert_snapshot!(out);
}
