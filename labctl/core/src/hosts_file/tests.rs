//! Tests of the hosts file in temporary folders.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;

const BLOCK: &str = "# labctl demo begin\n127.64.0.2 a.demo a\n# labctl demo end\n";
const LINES: &str = "127.64.0.2 a.demo a\n";

fn demo() -> LabName {
    "demo".parse().unwrap()
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_block_comes_and_goes_and_all_else_stays() {
    let crlf = BLOCK.replace('\n', "\r\n");
    let unended = BLOCK.trim_end();
    let other = "# labctl other begin\n127.65.0.2 b\n# labctl other end\n";
    let cases: &[(&str, &[u8], String)] = &[
        ("empty", b"", BLOCK.into()),
        ("plain", b"127.0.0.1 localhost\n", format!("127.0.0.1 localhost\n{BLOCK}")),
        ("no last line end", b"127.0.0.1 localhost", format!("127.0.0.1 localhost\n{unended}")),
        ("CRLF", b"1.1.1.1 x\r\n", format!("1.1.1.1 x\r\n{crlf}")),
        ("CRLF, no last line end", b"1.1.1.1 x\r\n2.2.2.2 y", format!("1.1.1.1 x\r\n2.2.2.2 y\r\n{}", crlf.trim_end())),
        ("another lab", other.as_bytes(), format!("{other}{BLOCK}")),
        ("nearly a marker", b"# labctl demo2 begin\n#labctl demo begin\n", format!("# labctl demo2 begin\n#labctl demo begin\n{BLOCK}")),
        ("blank lines", b"\n\n1.1.1.1 x\n\n", format!("\n\n1.1.1.1 x\n\n{BLOCK}")),
    ];
    for (case, before, wanted) in cases {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        fs::write(&file, before).unwrap();
        assert!(edit(&file, &demo(), Some(LINES)).unwrap().changed, "{case}");
        assert_eq!(&fs::read_to_string(&file).unwrap(), wanted, "{case}");
        let inode = fs::metadata(&file).unwrap().ino();
        assert!(!edit(&file, &demo(), Some(LINES)).unwrap().changed, "{case}");
        assert_eq!(fs::metadata(&file).unwrap().ino(), inode, "{case}: an unchanged file must not be written");
        assert!(edit(&file, &demo(), None).unwrap().changed, "{case}");
        assert_eq!(&fs::read(&file).unwrap(), before, "{case}");
        assert!(!edit(&file, &demo(), None).unwrap().changed, "{case}");
        assert_eq!(listing(folder.path()), ["hosts"], "{case}: no temporary file may stay");
    }
}

#[test]
fn a_block_is_replaced_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hosts");
    let around = |block: &str| [b"1.1.1.1 caf\xe9\n", block.as_bytes(), b"\r\n2.2.2.2 y"].concat();
    fs::write(&file, around("# labctl demo begin  \n9.9.9.9 gone\n# labctl demo end\n")).unwrap();
    assert!(edit(&file, &demo(), Some(LINES)).unwrap().changed);
    assert_eq!(fs::read(&file).unwrap(), around(BLOCK));
    assert!(edit(&file, &demo(), None).unwrap().changed);
    assert_eq!(fs::read(&file).unwrap(), around(""));
}

#[test]
fn broken_markers_are_refused_and_nothing_changes() {
    let (begin, end) = ("# labctl demo begin\n", "# labctl demo end\n");
    let cases = [
        (format!("x\n{begin}1.1.1.1 a\n"), "hosts:2: `# labctl demo begin` has no end"),
        (format!("x\n{end}"), "hosts:2: `# labctl demo end` has no begin before it"),
        (format!("{end}{begin}"), "hosts:1: `# labctl demo end` has no begin before it"),
        (format!("{begin}{end}x\n{begin}{end}"), "hosts:4: a second `# labctl demo begin`; the first is on line 1"),
        (format!("{begin}{begin}{end}"), "hosts:2: a second `# labctl demo begin`; the first is on line 1"),
        (
            format!("{begin}# labctl other begin\n# labctl other end\n{end}"),
            "hosts:2: another lab's marker inside the block of lab `demo` that begins on line 1",
        ),
    ];
    for (text, wanted) in cases {
        for lines in [Some(LINES), None] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("hosts");
            fs::write(&file, &text).unwrap();
            let why = edit(&file, &demo(), lines).unwrap_err();
            assert_eq!(why.kind, Kind::Input);
            assert!(why.message.ends_with(wanted), "{} is not {wanted}", why.message);
            assert!(why.hint.unwrap().contains("nothing was changed"));
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}

#[test]
fn mode_owner_attributes_and_the_link_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real/hosts"), folder.path().join("link"));
    fs::create_dir(folder.path().join("real")).unwrap();
    fs::write(&real, "1.1.1.1 x\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&real, Some(12345), Some(23456)).unwrap();
    }
    #[cfg(target_os = "linux")]
    let attributes = rustix::fs::setxattr(&real, "user.labctl", b"kept", rustix::fs::XattrFlags::empty()).is_ok();
    let before = fs::metadata(&real).unwrap();
    symlink("real/hosts", &link).unwrap();
    assert!(edit(&link, &demo(), Some(LINES)).unwrap().changed);
    let after = fs::metadata(&real).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino(), "the file must be replaced, not written in place");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), format!("1.1.1.1 x\n{BLOCK}"));
    #[cfg(target_os = "linux")]
    if attributes {
        let mut value = [0; 8];
        assert_eq!(rustix::fs::getxattr(&real, "user.labctl", &mut value[..]).unwrap(), 4);
        assert_eq!(&value[..4], b"kept");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert!(!edit(&missing, &demo(), None).unwrap().changed);
    assert_eq!(edit(&missing, &demo(), Some(LINES)).unwrap_err().kind, Kind::Input);
    assert_eq!(edit(folder.path(), &demo(), Some(LINES)).unwrap_err().kind, Kind::Input);
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    edit(&folder.path().join("dangling"), &demo(), None).unwrap_err();
    assert_eq!(listing(folder.path()), ["dangling"]);
}

#[test]
fn names_that_other_lines_have_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hosts");
    let text = "# 9.9.9.9 a\n127.64.0.2 a\n\t10.0.0.1  x A.demo # a\n# labctl demo begin\n5.5.5.5 a\n# labctl demo end\n::1 a\n";
    fs::write(&file, text).unwrap();
    let edited = edit(&file, &demo(), Some(LINES)).unwrap();
    let told: Vec<(usize, &str, &str, &str)> = edited.shadowed.iter().map(|s| (s.line, &*s.name, &*s.address, &*s.wanted)).collect();
    assert_eq!(told, [(3, "A.demo", "10.0.0.1", "127.64.0.2"), (7, "a", "::1", "127.64.0.2")]);
    assert_eq!(edit(&file, &demo(), Some(LINES)).unwrap(), Edited { changed: false, ..edited });
}

#[test]
fn labs_that_edit_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hosts");
    fs::write(&file, "1.1.1.1 x\n").unwrap();
    std::thread::scope(|scope| {
        for index in 0..6 {
            let file = &file;
            scope.spawn(move || {
                let lab: LabName = format!("lab{index}").parse().unwrap();
                assert!(edit(file, &lab, Some(&format!("127.70.0.{index} n{index}\n"))).unwrap().changed);
            });
        }
    });
    let text = fs::read_to_string(&file).unwrap();
    for index in 0..6 {
        assert!(text.contains(&format!("# labctl lab{index} begin\n127.70.0.{index} n{index}\n# labctl lab{index} end\n")), "{text}");
    }
    assert_eq!(text.lines().count(), 1 + 6 * 3);
}

#[test]
fn the_lines_have_every_name_once() {
    let text = "name: demo\nnodes:\n  - name: root-server\n    hostnames: [root.server.demo]\n  - name: b\n";
    let lab = labctl_spec::parse_lab(text, Path::new("/lab.yml")).unwrap();
    let value = serde_json::json!({"version": 1, "lab": lab, "loopback_block": 77, "nodes": {},
        "ssh_key": {"private": "", "public": ""}});
    let record: Record = serde_json::from_value(value).unwrap();
    let octets = |index: usize| record.lab.nodes[index].address.octets();
    let ([_, _, c, d], [_, _, e, f]) = (octets(0), octets(1));
    let wanted = format!("127.77.{c}.{d} root-server.demo root.server.demo root-server\n127.77.{e}.{f} b.demo b\n");
    assert_eq!(lines(&record), wanted);
}
