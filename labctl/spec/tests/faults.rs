//! Every kind of fault with its exact message. The cases are in `faults/*.txt`: a title after `===`, a file's text, and after `---` the
//! faults that it must give. `LABCTL_BLESS=1 cargo test -p labctl-spec --test faults` rewrites the expected faults; review the diff.

use std::path::{Path, PathBuf};

use labctl_spec::mistake::Mistakes;

struct Folder {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

/// A folder with a file `there`, a folder `folder` and a playbook `site.yml`; the same for every case.
fn folder() -> Folder {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    std::fs::create_dir(path.join("folder")).expect("folder");
    for name in ["there", "site.yml"] {
        std::fs::write(path.join(name), "").expect("file");
    }
    Folder { _folder: folder, path }
}

fn check<T>(name: &str, file: &str, parse: impl Fn(&str, &Path) -> Result<T, Mistakes>) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults").join(name);
    let text = std::fs::read_to_string(&golden).expect("the cases");
    let folder = folder();
    let place = folder.path.display().to_string();
    let mut blessed = String::new();
    let mut wrong = Vec::new();
    let mut cases = 0;
    for case in text.split("=== ").skip(1) {
        let (title, rest) = case.split_once('\n').expect("a title");
        let (input, expected) = rest.split_once("---\n").unwrap_or((rest, ""));
        let found = match parse(input, &folder.path.join(file)) {
            Ok(_) => "no fault".to_owned(),
            Err(faults) => faults.to_string().replace(&format!("{place}/{file}"), file).replace(&place, "/DIR"),
        };
        blessed += &format!("=== {title}\n{input}---\n{found}\n\n");
        if found != expected.trim_end() {
            wrong.push(format!("{title}\nexpected:\n{expected}\nfound:\n{found}\n"));
        }
        assert_ne!(found, "no fault", "{title}");
        cases += 1;
    }
    if std::env::var_os("LABCTL_BLESS").is_some() {
        std::fs::write(&golden, blessed.trim_end().to_owned() + "\n").expect("written");
        return;
    }
    assert!(cases > 3, "no cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lab() {
    check("lab.txt", "lab.yml", labctl_spec::parse_lab);
}

#[test]
fn scenario() {
    let lab = "name: demo\nnodes:\n- {name: root-server, groups: [servers]}\n- {name: client, count: 2, groups: [clients]}\n";
    let lab = labctl_spec::parse_lab(lab, Path::new("lab.yml")).expect("a lab");
    check("scenario.txt", "kill.yml", |text, file| labctl_spec::parse_scenario(text, file, Some(&lab)));
}

#[test]
fn image() {
    check("image.txt", "debian-12.yml", labctl_spec::parse_image);
}

#[test]
fn artifacts() {
    check("artifacts.txt", "artifacts.yml", labctl_spec::parse_artifacts);
}
