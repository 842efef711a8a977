use super::*;

fn host(os: &str, files: &[(&str, &str)]) -> (Option<String>, Option<String>) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/apt/sources.list.d")).unwrap();
    fs::write(root.path().join("etc/os-release"), format!("NAME=x\nID={os}\n")).unwrap();
    for (path, text) in files {
        fs::write(root.path().join("etc/apt").join(path), text).unwrap();
    }
    host_mirrors(root.path())
}

#[test]
fn paragraphs_are_read_with_comments_and_continued_lines() {
    let text = "# made by hand\nTypes: deb deb-src\n# a remark between\nURIs: http://mirror.example/debian/\nSuites: bookworm\n bookworm-updates\nComponents: main contrib\nSigned-By:\n -----BEGIN PGP\n .\n\nTypes: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\nComponents: main\n";
    let (main, security) = host("debian", &[("sources.list.d/debian.sources", text)]);
    assert_eq!(main.as_deref(), Some("http://mirror.example/debian"));
    assert_eq!(security.as_deref(), Some("http://mirror.example/debian-security"));
}

#[test]
fn one_line_entries_are_read_with_options() {
    let text = "#deb http://off.example/debian bookworm main\ndeb-src http://src.example/debian bookworm main\ndeb [arch=amd64 signed-by=/x.gpg] https://mirror.example/debian bookworm main # ours\n";
    let (main, security) = host("debian", &[("sources.list", text)]);
    assert_eq!(main.as_deref(), Some("https://mirror.example/debian"));
    assert_eq!(security, None);
}

#[test]
fn third_parties_and_disabled_entries_are_not_taken_for_debian() {
    let files = [
        ("sources.list.d/a.list", "deb https://download.example/linux/debian bookworm stable\n"),
        ("sources.list.d/b.list", "deb https://apt.vendor.example bookworm main\n"),
        ("sources.list.d/c.sources", "Enabled: no\nTypes: deb\nURIs: http://x.example/debian\nSuites: bookworm\nComponents: main\n"),
        ("sources.list.d/d.sources.bak", "Types: deb\nURIs: http://y.example/debian\nSuites: bookworm\nComponents: main\n"),
        ("sources.list.d/e.list", "deb file:/srv/debian bookworm main\n"),
    ];
    assert_eq!(host("debian", &files), (None, None));
}

#[test]
fn another_distribution_has_no_debian_mirror() {
    assert_eq!(host("ubuntu", &[("sources.list", "deb http://u.example/debian jammy main\n")]), (None, None));
}

#[test]
fn proxies_are_taken_over_and_nothing_else() {
    let dump = "APT \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://proxy.example:3142\";\nAcquire::http::Proxy::internal.example \"DIRECT\";\nAcquire::https::Proxy \"\";\nAcquire::Check-Valid-Until \"false\";\nDPkg::Post-Invoke:: \"rm -rf x\";\n";
    assert_eq!(
        options_of(dump),
        [
            "Acquire::http::Proxy \"http://proxy.example:3142\";",
            "Acquire::http::Proxy::internal.example \"DIRECT\";",
            "Acquire::Check-Valid-Until \"false\";",
        ]
    );
}

#[test]
fn unstable_has_no_updates() {
    assert_eq!(source_lines("sid", "http://m/debian", "http://s/debian-security"), ["deb http://m/debian sid main"]);
    assert_eq!(source_lines("trixie", "http://m/debian", "http://s/debian-security").len(), 3);
}

#[test]
fn the_guest_gets_the_image_files_mirror_or_the_default() {
    let mut bootstrap = Bootstrap { suite: "bookworm".into(), mirror: None, packages: Vec::new(), size: None };
    assert!(guest_sources(&bootstrap).contains("\ndeb http://deb.debian.org/debian bookworm main\n"));
    bootstrap.mirror = Some("http://mirror.example/debian".into());
    assert!(guest_sources(&bootstrap).contains("\ndeb http://mirror.example/debian bookworm-updates main\n"));
    assert!(guest_sources(&bootstrap).contains("\ndeb http://security.debian.org/debian-security bookworm-security main\n"));
}
