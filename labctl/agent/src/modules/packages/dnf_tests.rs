//! `dnf` with an rpm and a dnf that share a list.

use serde_json::json;

use crate::modules::call::testing::Bench;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("list", "bash\nnginx\n");
    let list = bench.text_path("list");
    let rpm = format!(
        "printf '%s\\n' \"rpm $*\" >> $NOTES
        case \"$*\" in -qa*) echo 'bash|x86_64|(none)|1.fc40|5.2|@System'; exit;; esac
        rc=0; provides=; while [ \"$1\" != -- ]; do [ \"$1\" = --whatprovides ] && provides=1; shift; done; shift
        for name in \"$@\"; do
            if [ \"$provides$name\" = 1httpd ]; then echo nginx
            elif [ -n \"$provides\" ]; then echo \"no package provides $name\"; rc=1
            elif grep -qx \"$name\" {list}; then echo \"$name\"
            else echo \"package $name is not installed\"; rc=1; fi
        done; exit $rc"
    );
    let dnf = format!(
        "echo \"dnf $*\" >> $NOTES
        case \"$*\" in
        *missing*) echo 'No match for argument: missing'; echo 'Error: Unable to find a match: missing' >&2; exit 1;;
        *@group*|*upgrade*) echo 'Dependencies resolved.'; echo 'Nothing to do.'; exit;;
        *--assumeno*) echo 'Operation aborted.' >&2; exit 1;;
        *remove*) sed -i /nginx/d {list}; printf 'Removed:\\n  nginx-1.24.0-1.x86_64\\n\\nComplete!\\n';;
        *install*) echo curl >> {list}; printf 'Installed:\\n  curl-8.6-1.x86_64   libcurl-8.6-1.x86_64\\n\\nComplete!\\n';;
        *makecache*) echo 'Metadata cache created.';;
        *repolist*) printf 'repo id    repo name\\nfedora     Fedora 40\\n';;
        esac"
    );
    bench.program("rpm", &rpm);
    bench.program("dnf", &dnf);
    bench
}

#[test]
fn what_is_installed_costs_one_question() {
    let bench = bench();
    let result = bench.run("ansible.builtin.dnf", json!({"name": ["bash", "nginx"], "state": "present"}));
    assert_eq!((&result["changed"], &result["msg"], &result["rc"]), (&json!(false), &json!("Nothing to do"), &json!(0)));
    assert_eq!(bench.notes().len(), 1);
    assert_eq!(bench.run("yum", json!({"name": "httpd"}))["changed"], false, "nginx provides it");
}

#[test]
fn packages_come_and_go() {
    let bench = bench();
    let result = bench.converges("dnf", json!({"name": "curl,bash", "enablerepo": "extra", "install_weak_deps": false}), true);
    assert_eq!(result["results"], json!(["Installed: curl-8.6-1.x86_64", "Installed: libcurl-8.6-1.x86_64"]));
    let line = "dnf --assumeyes --enablerepo=extra --setopt=install_weak_deps=False install curl";
    assert!(bench.notes().iter().any(|note| note == line), "{:?}", bench.notes());
    bench.converges("dnf", json!({"name": "nginx", "state": "absent"}), true);
    assert_eq!(bench.fault("dnf", json!({"name": "missing"})), "Failed to install some of the specified packages");
    let reply = bench.call("dnf", json!({"name": "missing"}), true);
    assert_eq!(reply.result["failures"], json!(["No package missing available."]));
}

#[test]
fn groups_the_latest_and_lists() {
    let bench = bench();
    assert_eq!(bench.run("dnf", json!({"name": "@group"}))["changed"], false);
    assert_eq!(bench.run("dnf", json!({"name": "*", "state": "latest"}))["changed"], false);
    assert_eq!(bench.run("dnf", json!({"name": "bash", "state": "latest"}))["changed"], false);
    assert_eq!(bench.run("dnf", json!({"update_cache": true}))["msg"], "Cache updated");
    assert_eq!(bench.run("dnf", json!({"list": "installed"}))["results"][0]["nevra"], "0:bash-5.2-1.fc40.x86_64");
    assert_eq!(bench.run("dnf", json!({"list": "repos"}))["results"][0]["repoid"], "fedora");
    assert!(bench.fault("dnf", json!({"name": "./x.rpm", "state": "absent"})).starts_with("Cannot remove paths"));
    assert!(bench.fault("dnf", json!({"state": "latest"})).contains("name, list, update_cache"));
}

#[test]
fn package_finds_the_manager() {
    let bench = bench();
    bench.write("usr/bin/dnf", "");
    assert_eq!(bench.run("package", json!({"name": "bash", "state": "present"}))["msg"], "Nothing to do");
    assert_eq!(bench.run("package", json!({"name": "bash", "use": "dnf"}))["msg"], "Nothing to do");
    assert!(bench.fault("package", json!({"name": "bash", "use": "pacman"})).contains("apt, apk, dnf"));
}
