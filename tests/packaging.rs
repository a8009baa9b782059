//! The service files for systemd, FreeBSD and OpenRC: their own tools check them, and the tests run what can run here.

mod support;
#[path = "programs/server.rs"]
#[allow(dead_code)]
mod server;

use std::fs;
use std::process::Command;

use server::{PRISE, ask, listening, path_in, printed};
use support::{free_port, has, has_root, read_file, root, start_piped};

const UNIT: &str = "packaging/systemd/prise@.service";
const RC_D: &str = "packaging/freebsd/prise";
const OPENRC: &str = "packaging/openrc/prise";

/// The value of a key in the unit.
fn unit_value(key: &str) -> String {
    let unit = read_file(UNIT);
    let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("the unit does not set {key}")).to_string()
}

#[test]
fn systemd_accepts_the_units() {
    if !has("systemd-analyze", "systemd") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let units = ["service", "socket"].map(|kind| {
        // systemd-analyze complains about a program that is not installed
        let unit =
            read_file(&format!("packaging/systemd/prise@.{kind}")).replace("/usr/local/bin/prise", PRISE);
        let file = path_in(&folder, &format!("prise@8888.{kind}"));
        fs::write(&file, unit).expect("a file can be written");
        file
    });
    let mut verify = Command::new("systemd-analyze");
    let finished = server::run(verify.args(["verify", "--man=no"]).args(units));
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_units_capability_bounding_set_is_large_enough() {
    if !has("setpriv", "util-linux") || !has_root("only root has capabilities to give up") {
        return;
    }
    let bounding = unit_value("CapabilityBoundingSet").to_lowercase().replace("cap_", "+");
    let bounding = format!("-all,{}", bounding.split(' ').collect::<Vec<_>>().join(","));
    let port = free_port();
    let options = "--user nobody --chroot / --timeout 1 --memory 256 --nproc 64";
    let program = "sh -c id${IFS}-un;cat";
    let start = unit_value("ExecStart").replace("/usr/local/bin/prise", PRISE);
    let start = start.replace("$OPTIONS", options).replace("%i", &port.to_string());
    let start = start.replace("$PROGRAM", program);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", &bounding, "--no-new-privs"]).args(start.split(' '));
    let mut server = listening(start_piped(&mut command));
    assert_eq!(server.port, port);
    assert_eq!(ask(port, "hello\n"), "nobody\nhello\n");
    server.wait_log(1, " exit=0 ");
    // the server can still signal a process of another user
    let _silent = support::connect(port);
    server.wait_log(1, " signal=TERM seconds=");
    server.stop();
}

#[test]
fn the_scripts_have_no_syntax_error() {
    for script in [RC_D, OPENRC] {
        let file = root().join(script);
        let file = file.to_str().expect("a plain name");
        printed("sh", &["-n", file]);
        if has("shellcheck", "shellcheck") {
            printed("shellcheck", &["--shell", "sh", file]);
        }
    }
}

/// The command that an rc.d script starts as service `name` with these variables in rc.conf. A small rc.subr replaces
/// FreeBSD's: it sets the variables, and prints the command instead of running it.
fn started_command(script: &str, name: &str, variables: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let [rc_subr, service] = ["rc.subr", name].map(|name| path_in(&folder, name));
    let text = format!(
        "load_rc_config() {{ {variables}\n}}\nrun_rc_command() {{ eval \"echo $command $command_args $1\"; }}\n"
    );
    fs::write(&rc_subr, text).expect("a file can be written");
    let script = read_file(script).replace("/etc/rc.subr", &rc_subr);
    fs::write(&service, script).expect("a file can be written");
    printed("sh", &[&service, "start"])
}

#[test]
fn the_rc_d_script_follows_rc_conf() {
    let variables = "prise_options='--user nobody --per-ip 4' prise_run='/bin/echo --quiet'
        git_address='[::]:9418' git_run='git daemon --inetd'";
    assert_eq!(
        started_command(RC_D, "prise", variables),
        "/usr/sbin/daemon -f -S -T prise -p /var/run/prise.pid \
         /usr/local/bin/prise serve --user nobody --per-ip 4 8888 -- /bin/echo --quiet start\n"
    );
    // the same script under another name
    assert_eq!(
        started_command(RC_D, "git", variables),
        "/usr/sbin/daemon -f -S -T git -p /var/run/git.pid \
         /usr/local/bin/prise serve [::]:9418 -- git daemon --inetd start\n"
    );
}

#[test]
fn the_openrc_script_follows_conf_d() {
    let script = root().join(OPENRC);
    let show = format!(". {}; echo $command $command_args", script.display());
    let configured = format!("options='--per-ip 4' run='/bin/echo --quiet'; {show}");
    let expected = "/usr/local/bin/prise serve --per-ip 4 8888 -- /bin/echo --quiet\n";
    assert_eq!(printed("sh", &["-c", &configured]), expected);
}
