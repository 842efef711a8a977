//! Sparse files.

use std::io::{Seek, SeekFrom, Write};

use super::*;

/// Where there is data in a file, and which.
type Pieces<'a> = &'a [(u64, &'a [u8])];

/// A file of 64 MiB with these pieces at these places.
fn sparse(path: &Path, pieces: &[(u64, &[u8])]) {
    let mut file = fs::File::create(path).unwrap();
    for (at, bytes) in pieces {
        file.seek(SeekFrom::Start(*at)).unwrap();
        file.write_all(bytes).unwrap();
    }
    file.set_len(64 << 20).unwrap();
}

#[test]
fn holes_arrive_as_holes() {
    let bench = Bench::new();
    let pieces: [(&str, Pieces<'_>); 4] = [
        ("empty", &[]),
        ("begin", &[(0, b"begin")]),
        ("middle", &[(8 << 20, b"one"), (20 << 20, b"two")]),
        ("end", &[((64 << 20) - 3, b"end")]),
    ];
    for (name, pieces) in pieces {
        sparse(&bench.from(name), pieces);
    }
    if fs::metadata(bench.from("empty")).unwrap().blocks() > 0 {
        labctl_skip::skip!("holes", "this file system has none");
        return;
    }
    let done = bench.copy();
    // A file system reports data in its own blocks.
    assert!(done.did.bytes < 2 << 20, "{:?}", done.did);
    assert_eq!(done.did.written, 4);
    for (name, _) in pieces {
        let (here, there) = (bench.from(name), bench.to(name));
        assert!(fs::read(&here).unwrap() == fs::read(&there).unwrap(), "{name}");
        assert!(fs::metadata(&there).unwrap().blocks() * 512 < 1 << 20, "{name}");
    }
    assert_eq!(bench.copy().did, Received::default());
}

/// The kernel says that these have no length.
#[test]
#[cfg(target_os = "linux")]
fn a_file_that_is_longer_than_it_says_is_sent_whole() {
    let bench = Bench::new();
    let manifest = walk::all(Path::new("/proc/version"), &Rules::default(), None);
    let path = bench.folder.path().join("version");
    bench.run(&manifest, &Receiver { path: path.clone(), ..bench.receiver() }).unwrap();
    assert_eq!(fs::read(path).unwrap(), fs::read("/proc/version").unwrap());
}

#[test]
fn a_hole_without_measure_is_a_fault_of_that_file() {
    let bench = Bench::new();
    let item = |path: &str, what| Item { path: ByteBuf::from(path), mode: 0o755, what };
    let file = || What::File { size: 1, mtime: 1 };
    let (mut near, mut far) = ends();
    let sender = std::thread::spawn(move || {
        let mut talk = crate::pipe::Talk::new(&mut near);
        for item in [item("", What::Folder), item("a", file()), item("b", file())] {
            talk.say(&FromSender::Item(item)).unwrap();
        }
        talk.say(&FromSender::Listed).unwrap();
        for parts in [[FromSender::Hole(1), FromSender::Hole(u64::MAX)], [FromSender::Bytes(ByteBuf::from("x")), FromSender::Hole(1)]] {
            parts.iter().for_each(|part| talk.say(part).unwrap());
            talk.say(&FromSender::Written { mtime: 1 }).unwrap();
        }
        talk.flush().unwrap();
        near
    });
    let did = receive(&bench.receiver(), &mut far, &mut |_| {}).unwrap();
    drop(sender.join().unwrap());
    assert_eq!((did.faults.len(), did.written), (1, 1), "{did:?}");
    assert_eq!(fs::read(bench.to("b")).unwrap(), b"x\0");
    assert_eq!(fs::read_dir(bench.to("")).unwrap().count(), 1, "nothing is left of the other one");
}
