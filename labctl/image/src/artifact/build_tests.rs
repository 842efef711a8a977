use labctl_spec::artifact::{CargoSource, GoModuleSource};

use super::*;
use crate::progress::Silent;

#[tokio::test]
async fn a_small_go_module_builds_static_and_unknown_ones_are_passed_over() {
    if let Err(missing) = go(None) {
        labctl_skip::skip!("go", "{missing}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let module = |module: &str, version: &str| {
        ArtifactSource::GoModule(GoModuleSource {
            module: module.into(),
            module_version: version.into(),
            package: None,
            replace: Default::default(),
            exclude: Default::default(),
            tags: vec![],
            ldflags: None,
            go: None,
            cgo: false,
        })
    };
    let artifact = Artifact {
        name: "hello".into(),
        version: "1".into(),
        sources: vec![module("rsc.io/quote@bad", "v1"), module("golang.org/x/example/hello", "v0.0.0-20250915201037-7f05d217867b")],
    };
    match store.artifact(&artifact, folder.path(), &Silent).await {
        Ok(got) => {
            let output = std::process::Command::new(&got.path).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "Hello, world!\n");
            assert_eq!(got.passed_over.len(), 1);
        }
        Err(error @ ArtifactError::NoSource { .. }) => {
            labctl_skip::skip!("go-proxy", "the module cannot be fetched here: {error}")
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_crate_is_built_static_and_rebuilt_when_its_source_changes() {
    if let Err(missing) = cargo_build::doctor() {
        labctl_skip::skip!("cargo-build", "{missing}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("hello");
    fs::create_dir_all(program.join("src")).unwrap();
    let manifest = "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(program.join("Cargo.toml"), manifest).unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let source = ArtifactSource::Cargo(CargoSource { path: "hello".into() });
    let artifact = Artifact { name: "hello".into(), version: "1".into(), sources: vec![source] };
    for word in ["one", "two"] {
        fs::write(program.join("src/main.rs"), format!("fn main() {{ println!(\"{word}\") }}")).unwrap();
        let got = store.artifact(&artifact, folder.path(), &Silent).await.unwrap();
        let output = std::process::Command::new(&got.path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{word}\n"));
    }
    fs::write(program.join("src/main.rs"), "fn main() { nonsense }").unwrap();
    let error = store.artifact(&artifact, folder.path(), &Silent).await.unwrap_err();
    assert!(error.to_string().contains("nonsense"), "{error}");
}
