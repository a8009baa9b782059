//! What starts the server at boot: checked by the tools that there are, and run as far as this machine can.

mod support;
#[path = "programs/server.rs"]
#[allow(dead_code)]
mod server;

use std::fs;
use std::process::Command;

use server::{PRISE, ask, listening, printed};
use support::{free_port, has, root, skipped, start_piped};

const UNIT: &str = "packaging/systemd/prise@.service";
const RC_D: &str = "packaging/freebsd/prise";
const OPENRC: &str = "packaging/openrc/prise";

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What a key of the unit is set to.
fn of_unit(key: &str) -> String {
    let unit = read(UNIT);
    let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("the unit does not set {key}")).to_string()
}

#[test]
fn systemd_accepts_the_units() {
    if !has("systemd-analyze", "systemd") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let place = |name: &str| folder.path().join(name).to_str().expect("a plain name").to_string();
    for kind in ["service", "socket"] {
        // a program that is not installed would be found missing
        let unit = read(&format!("packaging/systemd/prise@.{kind}")).replace("/usr/local/bin/prise", PRISE);
        fs::write(place(&format!("prise@8888.{kind}")), unit).expect("a file can be written");
    }
    let units = [place("prise@8888.service"), place("prise@8888.socket")];
    let mut verify = Command::new("systemd-analyze");
    let done = server::run(verify.args(["verify", "--man=no"]).args(units));
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_capabilities_that_the_unit_leaves_are_enough() {
    if !has("setpriv", "util-linux") {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "not root");
        return skipped("not root, and only root has capabilities to give up");
    }
    let bounding = of_unit("CapabilityBoundingSet").to_lowercase().replace("cap_", "+");
    let bounding = format!("-all,{}", bounding.split(' ').collect::<Vec<_>>().join(","));
    let port = free_port();
    let options = "--user nobody --chroot / --timeout 1 --memory 256 --nproc 64";
    let program = "sh -c id${IFS}-un;cat";
    let start = of_unit("ExecStart").replace("/usr/local/bin/prise", PRISE);
    let start = start.replace("$OPTIONS", options).replace("%i", &port.to_string());
    let start = start.replace("$PROGRAM", program);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", &bounding, "--no-new-privs"]).args(start.split(' '));
    let mut server = listening(start_piped(&mut command));
    assert_eq!(server.port, port);
    assert_eq!(ask(port, "hello\n"), "nobody\nhello\n");
    server.wait_log(1, " exit=0 ");
    // it may signal a process of another user
    let _silent = support::connect(port);
    server.wait_log(1, " signal=TERM seconds=");
    server.stop();
}

#[test]
fn scripts_are_well_formed() {
    for script in [RC_D, OPENRC] {
        let file = root().join(script);
        let file = file.to_str().expect("a plain name");
        printed("sh", &["-n", file]);
        if has("shellcheck", "shellcheck") {
            printed("shellcheck", &["--shell", "sh", file]);
        }
    }
}

/// What a script runs, with these variables where its system keeps them, and what stands for its system.
fn ran(script: &str, name: &str, variables: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let place = |name: &str| folder.path().join(name).to_str().expect("a plain name").to_string();
    let system = format!(
        "load_rc_config() {{ {variables}\n}}\nrun_rc_command() {{ eval \"echo $command $command_args $1\"; }}\n"
    );
    fs::write(place("rc.subr"), system).expect("a file can be written");
    fs::write(place(name), read(script).replace("/etc/rc.subr", &place("rc.subr"))).expect("a file");
    printed("sh", &[&place(name), "start"])
}

#[test]
fn the_rc_d_script_starts_what_rc_conf_says() {
    let variables = "prise_options='--user nobody --per-ip 4' prise_run='/bin/echo --quiet'
        git_address='[::]:9418' git_run='git daemon --inetd'";
    assert_eq!(
        ran(RC_D, "prise", variables),
        "/usr/sbin/daemon -f -S -T prise -p /var/run/prise.pid \
         /usr/local/bin/prise serve --user nobody --per-ip 4 8888 -- /bin/echo --quiet start\n"
    );
    // by another name
    assert_eq!(
        ran(RC_D, "git", variables),
        "/usr/sbin/daemon -f -S -T git -p /var/run/git.pid \
         /usr/local/bin/prise serve [::]:9418 -- git daemon --inetd start\n"
    );
}

#[test]
fn the_openrc_script_starts_what_conf_d_says() {
    let script = root().join(OPENRC);
    let show = format!(". {}; echo $command $command_args", script.display());
    let configured = format!("options='--per-ip 4' run='/bin/echo --quiet'; {show}");
    let expected = "/usr/local/bin/prise serve --per-ip 4 8888 -- /bin/echo --quiet\n";
    assert_eq!(printed("sh", &["-c", &configured]), expected);
}
