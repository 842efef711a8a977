//! Both sides against each other, in folders of this host.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use labctl_wire::tree::{FromSender, Item, Received, Removal, What};
use serde_bytes::ByteBuf;
use tempfile::TempDir;

use super::*;

mod holes;

/// One end of a pipe between two threads; counts what it sends.
struct End {
    out: mpsc::Sender<Vec<u8>>,
    heard: mpsc::Receiver<Vec<u8>>,
    batches: usize,
}

impl Pipe for End {
    fn send(&mut self, batch: Vec<u8>) -> io::Result<()> {
        assert!(batch.len() <= labctl_wire::CHUNK, "{}", batch.len());
        self.batches += 1;
        self.out.send(batch).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        self.heard.recv().map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }
}

fn ends() -> (End, End) {
    let ((one, far), (other, near)) = (mpsc::channel(), mpsc::channel());
    (End { out: one, heard: near, batches: 0 }, End { out: other, heard: far, batches: 0 })
}

struct Bench {
    folder: TempDir,
    rules: Rules,
    removal: Removal,
    mode: Option<u32>,
    spare: Vec<PathBuf>,
}

/// What a copy did, and how many batches went each way.
struct Done {
    did: Received,
    there: usize,
    back: usize,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("from")).unwrap();
        Self { folder, rules: Rules::default(), removal: Removal::Brought, mode: None, spare: Vec::new() }
    }

    fn from(&self, path: &str) -> PathBuf {
        self.folder.path().join("from").join(path)
    }

    fn to(&self, path: &str) -> PathBuf {
        self.folder.path().join("deep/to").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.from(path).parent().unwrap()).unwrap();
        fs::write(self.from(path), text).unwrap();
        // Older than what counts as fresh.
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        fs::File::options().write(true).open(self.from(path)).unwrap().set_modified(old).unwrap();
    }

    fn receiver(&self) -> Receiver {
        Receiver {
            path: self.to(""),
            removal: self.removal,
            records: Some(self.folder.path().join("records")),
            rules: self.rules.clone(),
            spare: self.spare.clone(),
            ..Receiver::default()
        }
    }

    fn run(&self, manifest: &Manifest, how: &Receiver) -> Result<Done, TreeError> {
        let (mut near, mut far) = ends();
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let sent = send(&mut Source { manifest, stream: None, progress: &mut |_| {} }, &mut near);
                (sent, near.batches)
            });
            let received = receive(how, &mut far, &mut |_| {});
            let back = far.batches;
            drop(far);
            let (sent, there) = sender.join().unwrap();
            let did = received?;
            assert_eq!(sent?, Vec::<String>::new());
            Ok(Done { did, there, back })
        })
    }

    fn copy(&self) -> Done {
        let manifest = walk::all(&self.from(""), &self.rules, self.mode);
        assert_eq!(manifest.faults, Vec::<String>::new());
        self.run(&manifest, &self.receiver()).unwrap()
    }

    fn copy_some(&self, paths: &[&str]) -> Done {
        let paths: BTreeSet<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let manifest = walk::some(&self.from(""), &self.rules, self.mode, &paths);
        self.run(&manifest, &Receiver { partial: true, ..self.receiver() }).unwrap()
    }
}

#[test]
fn a_folder_with_everything_in_it() {
    let bench = Bench::new();
    bench.write("plain", "hi\n");
    bench.write("a b/ü/it's $x.txt", "x");
    bench.write("run", "#!/bin/sh\n");
    bench.write("secret", "s");
    fs::set_permissions(bench.from("run"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(bench.from("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("me@host.123:456", bench.from(".#plain")).unwrap();
    symlink("..", bench.from("up")).unwrap();
    symlink("plain", bench.from("alias")).unwrap();
    let _socket = UnixListener::bind(bench.from("app.sock")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, bench.from("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    let latin = OsStr::from_bytes(b"caf\xe9\n");
    fs::write(bench.from("").join(latin), "latin").unwrap();
    fs::create_dir(bench.from("logs")).unwrap();
    fs::set_permissions(bench.from("logs"), fs::Permissions::from_mode(0o2770)).unwrap();
    bench.write("big", &"0123456789abcdef".repeat(20_000));
    bench.write("nothing", "");

    let manifest = walk::all(&bench.from(""), &bench.rules, None);
    assert_eq!(manifest.skipped, ["app.sock (a socket)", "pipe (a FIFO)"]);
    let first = bench.copy();
    assert_eq!(first.did.faults, Vec::<String>::new());
    assert_eq!((first.did.written, first.did.folders, first.did.removed), (10, 4, 0));
    assert_eq!(fs::read_to_string(bench.to("a b/ü/it's $x.txt")).unwrap(), "x");
    assert_eq!(fs::read(bench.to("").join(latin)).unwrap(), b"latin");
    assert_eq!(fs::read(bench.to("big")).unwrap(), fs::read(bench.from("big")).unwrap());
    assert_eq!(fs::metadata(bench.to("nothing")).unwrap().len(), 0);
    assert_eq!(fs::read_link(bench.to(".#plain")).unwrap(), Path::new("me@host.123:456"));
    assert_eq!(fs::read_link(bench.to("up")).unwrap(), Path::new(".."));
    assert!(bench.to("logs").is_dir() && !bench.to("pipe").exists() && !bench.to("app.sock").exists());
    let mode = |path: &str| fs::metadata(bench.to(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("run"), mode("secret"), mode("logs")), (0o755, 0o600, 0o770), "special bits are left out");
    let (here, there) = (fs::metadata(bench.from("plain")).unwrap(), fs::metadata(bench.to("plain")).unwrap());
    assert_eq!((here.mtime(), here.mtime_nsec()), (there.mtime(), there.mtime_nsec()));

    fs::write(bench.from("").join(latin), "latin").unwrap();
    fs::File::options().write(true).open(bench.from("").join(latin)).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let touched = bench.copy();
    assert_eq!((touched.did.changed(), touched.did.bytes), (false, 0), "only a time differs: {:?}", touched.did);
    let again = bench.copy();
    assert_eq!(again.did, Received::default());
    assert_eq!((again.there, again.back), (1, 1), "one round trip");
}

#[test]
fn what_differs_is_sent_and_nothing_else() {
    let bench = Bench::new();
    for number in 0..50 {
        bench.write(&format!("d{}/{number}", number % 5), &format!("{number:04}"));
    }
    bench.copy();
    bench.write("d1/1", "new!");
    fs::set_permissions(bench.from("d2/2"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(bench.from("d3"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(bench.to("d4/4"), "mine").unwrap();
    let done = bench.copy().did;
    assert_eq!((done.written, done.bytes, done.touched, done.folders), (2, 8, 2, 0), "{done:?}");
    assert_eq!(fs::read_to_string(bench.to("d1/1")).unwrap(), "new!");
    assert_eq!(fs::read_to_string(bench.to("d4/4")).unwrap(), "0004");
    assert_eq!(fs::metadata(bench.to("d2/2")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(bench.to("d3")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn what_was_brought_is_removed_and_nothing_else() {
    let bench = Bench::new();
    for path in ["old/deep/file", "old/stays", "file", "turns", "folder/x"] {
        bench.write(path, "1");
    }
    bench.copy();
    fs::write(bench.to("made-there"), "").unwrap();
    fs::write(bench.to("old/deep/made-there"), "").unwrap();
    for path in ["old/deep/file", "file", "turns", "folder/x"] {
        fs::remove_file(bench.from(path)).unwrap();
    }
    fs::remove_dir(bench.from("old/deep")).unwrap();
    fs::remove_dir(bench.from("folder")).unwrap();
    bench.write("turns/into", "a folder");
    bench.write("folder", "now a file");
    let done = bench.copy().did;
    assert_eq!(done.faults, Vec::<String>::new());
    for gone in ["old/deep/file", "file", "folder/x"] {
        assert!(!bench.to(gone).exists(), "{gone}");
    }
    for kept in ["made-there", "old/deep/made-there", "old/stays", "turns/into"] {
        assert!(bench.to(kept).exists(), "{kept}");
    }
    assert_eq!(fs::read_to_string(bench.to("folder")).unwrap(), "now a file");

    let mut never = Bench { removal: Removal::Never, ..bench };
    fs::remove_file(never.from("old/stays")).unwrap();
    assert_eq!(never.copy().did.removed, 0);
    assert!(never.to("old/stays").exists());
    never.removal = Removal::Foreign;
    never.rules = Rules::new(vec!["*.keep".into(), "/cache/".into()]).unwrap();
    never.spare = vec!["other/copy".into()];
    for path in ["cache/x", "a/b.keep", "a/c", "other/copy/x", "other/y"] {
        fs::create_dir_all(never.to(path).parent().unwrap()).unwrap();
        fs::write(never.to(path), "").unwrap();
    }
    symlink(never.from(""), never.to("out")).unwrap();
    never.copy();
    let left = |path: &str| fs::symlink_metadata(never.to(path)).is_ok();
    assert_eq!(["cache/x", "a/b.keep", "other/copy/x"].map(left), [true; 3], "what is spared stays");
    assert_eq!(["made-there", "old/deep", "a/c", "other/y", "out"].map(left), [false; 5], "everything else goes");
    assert!(never.from("turns/into").exists(), "nothing is removed through a link");
}

#[test]
fn rules_are_gits() {
    let mut bench = Bench::new();
    let lines = ["*.log", "!keep.log", "/build/", "node_modules/", "docs/**/draft", "\\#x", "# a comment", "", "a{b,c}", "[{}]1", "\\{d"];
    bench.rules = Rules::new(lines.map(str::to_owned).to_vec()).unwrap();
    let out = ["a.log", "d/b.log", "build/x", "d/node_modules/x", "docs/a/b/draft", "#x", "a{b,c}", "{1", "{d"];
    let there = ["keep.log", "d/build/x", "draft", "node", "ab", "x1"];
    for path in out.iter().chain(&there) {
        bench.write(path, "");
    }
    bench.copy();
    assert_eq!(out.map(|path| bench.to(path).exists()), [false; 9]);
    assert_eq!(there.map(|path| bench.to(path).exists()), [true; 6]);
    bench.copy_some(&out);
    assert_eq!(out.map(|path| bench.to(path).exists()), [false; 9], "nor if it is what changed");
    let bad = Rules::new(vec!["fine".into(), "[z-a]".into()]).unwrap_err();
    assert_eq!((bad.at, bad.line.as_str()), (1, "[z-a]"));
}

#[test]
fn only_what_changed_is_looked_at() {
    let bench = Bench::new();
    for path in ["a/b/one", "a/two", "gone/x", "gone/y", "three"] {
        bench.write(path, "1");
    }
    bench.copy();
    bench.write("a/b/one", "22");
    bench.write("new/deep/file", "3");
    bench.write("three", "not told");
    fs::remove_dir_all(bench.from("gone")).unwrap();
    let done = bench.copy_some(&["a/b/one", "new", "new/deep/file", "gone", "gone/x", "never/was"]).did;
    assert_eq!((done.written, done.folders, done.removed, done.faults.len()), (2, 2, 3, 0), "{done:?}");
    assert_eq!(fs::read_to_string(bench.to("a/b/one")).unwrap(), "22");
    assert_eq!(fs::read_to_string(bench.to("new/deep/file")).unwrap(), "3");
    assert_eq!(fs::read_to_string(bench.to("three")).unwrap(), "1");
    assert!(!bench.to("gone").exists());
    // A file that comes and goes between two looks changes nothing, not even the record.
    let record =
        || fs::read_dir(bench.folder.path().join("records")).unwrap().next().unwrap().unwrap().metadata().unwrap().modified().unwrap();
    let before = record();
    assert_eq!(bench.copy_some(&["a/.two.swp"]).did, Received::default());
    assert_eq!(record(), before);
    // What part of a copy brought is known to be ours, too.
    fs::remove_dir_all(bench.from("new")).unwrap();
    assert_eq!(bench.copy().did.removed, 3);
    assert!(!bench.to("new").exists() && bench.to("a/two").exists());
}

#[test]
fn a_copy_that_is_killed_leaves_nothing_half_done() {
    let bench = Bench::new();
    bench.write("d/big", &"x".repeat(300_000));
    bench.write("d/old", "old");
    let manifest = walk::all(&bench.from(""), &bench.rules, None);
    let (mut near, mut far) = ends();
    // The sender dies after its first piece of content.
    let how = bench.receiver();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || receive(&how, &mut far, &mut |_| {}));
        let mut talk = pipe::Talk::new(&mut near);
        for item in &manifest.items {
            talk.say(&FromSender::Item(item.clone())).unwrap();
        }
        talk.say(&FromSender::Listed).unwrap();
        let _: labctl_wire::tree::FromReceiver = talk.hear().unwrap();
        talk.say(&FromSender::Bytes(ByteBuf::from(vec![b'x'; 1000]))).unwrap();
        talk.flush().unwrap();
        drop(near);
        assert!(matches!(receiver.join().unwrap(), Err(TreeError::Ended(_))));
    });
    let names = |folder: &str| fs::read_dir(bench.to(folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names("d"), Vec::<std::ffi::OsString>::new());
    // A receiver that is killed cannot clean up; the next one does, by the token in the record.
    let record = fs::read_dir(bench.folder.path().join("records")).unwrap().next().unwrap().unwrap().path();
    let token = fs::read(record).unwrap().split(|byte| *byte == 0).next().unwrap().to_vec();
    let left = bench.to("d").join(format!(".labctl-{}-1", String::from_utf8(token).unwrap()));
    fs::write(&left, "half").unwrap();
    fs::remove_file(bench.from("d/old")).unwrap();
    bench.copy();
    assert!(!left.exists());
    assert_eq!(names("d"), ["big"]);
}

#[test]
fn nothing_is_written_outside() {
    let bench = Bench::new();
    let folder = |path: &str| Item { path: ByteBuf::from(path), mode: 0o755, what: What::Folder };
    let file = |path: &str| Item { path: ByteBuf::from(path), mode: 0o644, what: What::File { size: 1, mtime: 0 } };
    let link = |path: &str| Item { path: ByteBuf::from(path), mode: 0, what: What::Link { target: ByteBuf::from("/tmp") } };
    for evil in [
        vec![file("../evil")],
        vec![folder(""), file("../evil")],
        vec![folder(""), folder(".."), file("../evil")],
        vec![folder(""), file("/evil")],
        vec![folder(""), link("out"), file("out/evil")],
        vec![folder(""), folder("a"), file("a//b")],
        vec![folder(""), folder("a/.")],
        // Looked at as one thing, changed as another.
        vec![folder(""), file("x"), link("x")],
        vec![folder(""), folder("x"), link("x"), file("x/evil")],
        // A link here would be followed by the next copy.
        vec![link("")],
        vec![],
    ] {
        let manifest = Manifest { root: bench.from(""), items: evil, ..Manifest::default() };
        let why = bench.run(&manifest, &bench.receiver()).err();
        assert!(matches!(why, Some(TreeError::Invalid(_))), "{:?}: {why:?}", manifest.items);
    }
    // A link that somebody made in the target is replaced only if a copy made it.
    bench.write("sub/x", "1");
    fs::create_dir_all(bench.to("")).unwrap();
    fs::create_dir(bench.folder.path().join("elsewhere")).unwrap();
    symlink(bench.folder.path().join("elsewhere"), bench.to("sub")).unwrap();
    let done = bench.copy().did;
    assert_eq!(done.faults.len(), 1, "{done:?}");
    assert!(!bench.folder.path().join("elsewhere/x").exists());
}

#[test]
fn modes_and_places() {
    let mut bench = Bench::new();
    bench.write("d/file", "1");
    bench.mode = Some(0o640);
    bench.copy();
    let mode = |path: &str| fs::metadata(bench.to(path)).unwrap().mode() & 0o777;
    assert_eq!((mode(""), mode("d"), mode("d/file")), (0o750, 0o750, 0o640));

    // A file goes into a folder that is there, or to the path itself.
    let file = walk::all(&bench.from("d/file"), &bench.rules, None);
    let into = |path: &str| Receiver { path: bench.folder.path().join(path), into: Some("file".into()), ..Receiver::default() };
    for (path, place) in [("deep/to", "deep/to/file"), ("made/", "made/file"), ("deep/other", "deep/other")] {
        assert_eq!(bench.run(&file, &into(path)).unwrap().did.written, 1);
        assert_eq!(fs::read_to_string(bench.folder.path().join(place)).unwrap(), "1", "{place}");
    }
    let why = bench.run(&file, &Receiver { into: None, ..into("deep/to") }).err().unwrap().to_string();
    assert!(why.ends_with("deep/to: is a folder"), "{why}");
    let folder = walk::all(&bench.from("d"), &bench.rules, None);
    let why = bench.run(&folder, &Receiver { into: None, ..into("deep/other") }).err().unwrap().to_string();
    assert!(why.ends_with("exists and is not a folder"), "{why}");
    // A folder that was there before keeps its mode.
    fs::set_permissions(bench.folder.path().join("deep"), fs::Permissions::from_mode(0o1777)).unwrap();
    bench.run(&folder, &Receiver { path: bench.folder.path().join("deep"), ..bench.receiver() }).unwrap();
    assert_eq!(fs::metadata(bench.folder.path().join("deep")).unwrap().mode() & 0o7777, 0o1777);
}

#[test]
fn what_was_in_the_way_stays_whatever_is_copied_later() {
    let bench = Bench::new();
    for path in ["folder/x", "file"] {
        bench.write(path, "1");
    }
    fs::create_dir_all(bench.to("file")).unwrap();
    fs::write(bench.to("folder"), "mine").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.copy().did.faults.len(), 2, "the second copy does not take them for the first one's");
        assert_eq!(fs::read_to_string(bench.to("folder")).unwrap(), "mine");
    }
    fs::remove_dir_all(bench.from("folder")).unwrap();
    fs::remove_file(bench.from("file")).unwrap();
    assert_eq!(bench.copy().did.removed, 0);
    assert!(bench.to("folder").is_file() && bench.to("file").is_dir());

    // Where everything foreign is removed, a folder makes room for a file; what a rule spares still does not.
    let mut mirror = Bench { removal: Removal::Foreign, ..bench };
    for path in ["file", "other"] {
        mirror.write(path, "1");
        fs::create_dir_all(mirror.to(path).join("in")).unwrap();
        fs::write(mirror.to(path).join("in/made-there"), "").unwrap();
    }
    fs::write(mirror.to("other/keep"), "").unwrap();
    mirror.rules = Rules::new(vec!["keep".into()]).unwrap();
    assert_eq!(mirror.copy().did.faults.len(), 1);
    assert_eq!(fs::read_to_string(mirror.to("file")).unwrap(), "1");
    assert!(mirror.to("other/keep").exists() && !mirror.to("other/in").exists());
}

#[test]
fn incomplete_files_are_removed_wherever_they_are_but_not_those_of_another_copy() {
    let bench = Bench::new();
    bench.write("d/a", "1");
    bench.write("b", "1");
    bench.copy();
    let record = fs::read_dir(bench.folder.path().join("records")).unwrap().next().unwrap().unwrap().path();
    let unfinished = |token: &str| {
        let text = fs::read(&record).unwrap();
        let paths = text.iter().position(|byte| *byte == 0).unwrap();
        fs::write(&record, [token.as_bytes(), &text[paths..]].concat()).unwrap();
        let left = bench.to("d").join(format!(".labctl-{token}-1"));
        fs::write(&left, "half").unwrap();
        left
    };
    let others = crate::receive::Names::new();
    let left = unfinished(others.token());
    bench.copy();
    assert!(left.exists(), "the other copy is still at work");
    drop(others);
    fs::remove_file(left).unwrap();
    // The folder is gone from the host since.
    unfinished("dead");
    fs::remove_dir_all(bench.from("d")).unwrap();
    bench.copy();
    assert!(!bench.to("d").exists());
}

#[test]
fn faults_are_reported_together() {
    let bench = Bench::new();
    for path in ["a/x", "b/x", "c"] {
        bench.write(path, "1");
    }
    for path in ["a", "b"] {
        fs::create_dir_all(bench.to("")).unwrap();
        fs::write(bench.to(path), "mine").unwrap();
    }
    let done = bench.copy().did;
    assert_eq!(done.faults.len(), 2, "{done:?}");
    assert_eq!(fs::read_to_string(bench.to("c")).unwrap(), "1");
    assert_eq!(fs::read_to_string(bench.to("a")).unwrap(), "mine");
    assert_eq!(walk::all(&bench.from("none"), &bench.rules, None).faults.len(), 1);
}
