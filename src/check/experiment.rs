//! What a check works with: a fresh server, clients, and the message that they send.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::check::options::{Format, Options};
use crate::check::verdict::{EarlyExit, Failure, Outcome, Verdict};
use crate::error::{Error, perror, strerror};
use crate::ffi;
use crate::stdio::{say, say_on_stderr};
use crate::subject::peer::{Answer, End, Peer};
use crate::subject::port;
use crate::subject::system::{self, in_time_wait};
use crate::subject::{ExtraTime, Subject, wait_until};

/// A little longer than the 60 seconds for which Linux keeps a connection in TIME_WAIT.
const TIME_WAIT: Duration = Duration::from_secs(65);

/// What one check works with.
pub struct Experiment<'a> {
    options: &'a Options,
    /// The steps done so far; calls are written as in C.
    steps: RefCell<Vec<String>>,
    /// Whether a client gets the expected answer; `None` until that is known.
    pub answered: Cell<Option<bool>>,
    /// The status of a server that exited without being told to.
    unexpected_exit: Rc<Cell<Option<ExitStatus>>>,
}

impl<'a> Experiment<'a> {
    /// An experiment for one check.
    pub fn new(options: &'a Options) -> Experiment<'a> {
        let steps = RefCell::new(Vec::new());
        Experiment { options, steps, answered: Cell::new(None), unexpected_exit: Rc::default() }
    }

    /// Another experiment with the same options and its own steps.
    pub fn another(&self) -> Experiment<'a> {
        Experiment::new(self.options)
    }

    /// Whether another check fails too, with a server of its own. If so, what this check saw is that other mistake.
    pub fn also_fails(&self, check: fn(&Experiment<'_>) -> Outcome) -> Result<bool, Error> {
        match check(&self.another()) {
            Ok(verdict) | Err(EarlyExit::Verdict(verdict)) => Ok(verdict.failure().is_some()),
            Err(EarlyExit::Error(error)) => Err(error),
        }
    }

    /// Record a step, and print it with --verbose.
    pub fn step(&self, step: impl Into<String>) {
        let step = step.into();
        match self.options.format {
            _ if !self.options.verbose => {}
            Format::Human => say!("        {step}\n"),
            // on stderr: the program that reads the findings on stdout does not expect steps there
            Format::Tap | Format::Json => say_on_stderr(format_args!("        {step}")),
        }
        self.steps.borrow_mut().push(step);
    }

    /// The steps so far.
    pub fn steps(&self) -> Vec<String> {
        self.steps.borrow().clone()
    }

    /// The status of a server that exited without being told to, if one did.
    pub fn unexpected_exit(&self) -> Option<ExitStatus> {
        self.unexpected_exit.get()
    }

    /// How long the server is given for an answer.
    pub fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// The message that a client sends.
    pub fn message(&self) -> &[u8] {
        self.options.send()
    }

    /// The port for the next server.
    pub fn free_port(&self) -> u16 {
        self.options.port.unwrap_or_else(port::find_free)
    }

    /// Start a fresh server, with stdout on /dev/null, and wait until it listens.
    pub fn start(&self) -> Result<Subject, Error> {
        self.start_with_stdout(Stdio::null())
    }

    /// Start a fresh server for a check that inspects, signals or traces its process.
    pub fn start_visible(&self) -> Result<Subject, EarlyExit> {
        let server = self.start()?;
        if server.is_hidden() {
            let why = "the system does not show which process listens: its /proc/PID/fd cannot be read";
            return Err(EarlyExit::Verdict(Verdict::NotObservable(why.into())));
        }
        Ok(server)
    }

    /// Start a fresh server with this stdout, and wait until it listens.
    pub fn start_with_stdout(&self, stdout: Stdio) -> Result<Subject, Error> {
        if let Some(port) = self.options.port {
            // the server of the previous check was killed: wait until its socket is closed
            if !wait_until(Duration::from_secs(5), || !system::listens(port)) {
                let other = format!("something else listens on port {port}");
                return Err(self.interrupted().unwrap_or(Error::NotStarted(other)));
            }
            // otherwise a server that does not set SO_REUSEADDR would fail every check, instead of only `restarts`
            wait_until(TIME_WAIT, || !in_time_wait(port));
        }
        self.start_on(self.free_port(), stdout)
    }

    /// Start a fresh server on this port and with this stdout, and wait until it listens.
    pub fn start_on(&self, port: u16, stdout: Stdio) -> Result<Subject, Error> {
        let mut subject = self.spawn(port, stdout, Stdio::null())?;
        // a command that starts a server in the background and exits may exit a moment after the server listens
        let listens = subject.wait_listening(self.timeout())
            && !wait_until(Duration::from_millis(30), || subject.ended().is_some());
        if !listens {
            return Err(self.interrupted().unwrap_or(Error::NotStarted(self.why_not_started(&mut subject))));
        }
        if !subject.find_server_process() {
            let other = format!(
                "process {} belongs to another user: this user may neither examine nor end it",
                subject.pid
            );
            return Err(Error::NotStarted(other));
        }
        subject.report_unexpected_exit_to(&self.unexpected_exit);
        Ok(subject)
    }

    /// Start the server, without waiting until it listens.
    pub fn spawn(&self, port: u16, stdout: Stdio, stderr: Stdio) -> Result<Subject, Error> {
        self.step(format!("start the server on port {port}"));
        Subject::spawn(&self.options.server, port, stdout, stderr).map_err(|error| {
            let program = self.options.server.first().map(|word| word.to_string_lossy().into_owned());
            Error::NotStarted(format!("{}: {}", program.unwrap_or_default(), strerror(errno_of(&error))))
        })
    }

    fn why_not_started(&self, subject: &mut Subject) -> String {
        match subject.ended() {
            Some(status) if status.success() => {
                format!(
                    "it has ended ({status}): if it puts itself in the background, use its option for the foreground"
                )
            }
            Some(status) => format!("it ended before it listened on port {} ({status})", subject.port),
            None => format!(
                "it did not listen on port {} of 127.0.0.1 or ::1 within {:?}",
                subject.port,
                self.timeout()
            ),
        }
    }

    /// The error to return after Ctrl-C or another stop signal, if there was one.
    pub fn interrupted(&self) -> Option<Error> {
        ffi::stop_asked().map(Error::Stopped)
    }

    /// Connect a client. If it cannot connect, the check ends early and fails.
    pub fn dial(&self, subject: &Subject) -> Result<Peer, EarlyExit> {
        self.step("client: socket(); connect()");
        let refused = Failure::new("a connection", "connect() failed");
        self.dial_quietly(subject).map_err(|_| EarlyExit::Verdict(Verdict::Fails(refused)))
    }

    /// Connect a client without recording a step. It gets extra time: on a busy machine, the backlog may stay full for
    /// longer.
    pub fn dial_quietly(&self, subject: &Subject) -> io::Result<Peer> {
        let extra = ExtraTime::of(subject, self.timeout());
        loop {
            match Peer::dial(subject.port, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut && extra.is_granted() => {}
                result => return result,
            }
        }
    }

    /// Whether these bytes begin as a correct answer does.
    pub fn is_answer(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(self.options.expect())
    }

    /// How a correct answer begins.
    pub fn expected(&self) -> &[u8] {
        self.options.expect()
    }

    /// Wait until enough of an answer has arrived to judge it.
    pub fn read_answer(&self, subject: &Subject, peer: &mut Peer) -> Answer {
        self.read_answer_after(subject, peer, Vec::new())
    }

    /// Like [`Experiment::read_answer`], when some bytes have already been received.
    pub fn read_answer_after(&self, subject: &Subject, peer: &mut Peer, received: Vec<u8>) -> Answer {
        let answer = self.read_until(subject, peer, received, |bytes| self.is_enough(bytes));
        self.step(format!("client: read() gives {}", answer.describe()));
        answer
    }

    /// Like [`Experiment::read_answer`], without recording a step.
    pub fn read_answer_quietly(&self, subject: &Subject, peer: &mut Peer) -> Answer {
        self.read_until(subject, peer, Vec::new(), |bytes| self.is_enough(bytes))
    }

    /// Whether there are enough bytes to tell a correct answer from a wrong one.
    fn is_enough(&self, bytes: &[u8]) -> bool {
        bytes.len() >= self.options.expect().len().max(1)
    }

    /// Wait for the end of an answer.
    pub fn read_answer_to_end(&self, subject: &Subject, peer: &mut Peer) -> Answer {
        self.read_until(subject, peer, Vec::new(), |_| false)
    }

    fn read_until(
        &self,
        subject: &Subject,
        peer: &mut Peer,
        mut received: Vec<u8>,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Answer {
        let extra = ExtraTime::of(subject, self.timeout());
        loop {
            let end = peer.read_on(&mut received, self.timeout(), &enough);
            if end != End::Silence || !extra.is_granted() {
                return Answer { bytes: received, end };
            }
        }
    }

    /// Connect a client that sends its message and reads the answer. `None`: it cannot connect.
    pub fn converse(&self, subject: &Subject) -> Option<Answer> {
        let mut peer = self.dial(subject).ok()?;
        self.step(format!("client: write() of {} bytes", self.message().len()));
        peer.send(self.message());
        Some(self.read_answer(subject, &mut peer))
    }

    /// Whether a new client gets the expected answer.
    pub fn serves(&self, subject: &Subject) -> bool {
        self.converse(subject).is_some_and(|answer| self.is_answer(&answer.bytes))
    }

    /// Whether the server sends something before the client does.
    pub fn greets(&self, subject: &Subject) -> bool {
        let Ok(mut peer) = self.dial(subject) else { return false };
        !peer.read_until(Duration::from_millis(300), |bytes| !bytes.is_empty()).bytes.is_empty()
    }
}

/// What the server prints on stdout and stderr when it fails to start. At most 1000 bytes of it are returned.
pub fn startup_output(options: &Options) -> Result<String, Error> {
    let (mut reader, writer) = io::pipe().map_err(|error| io_error("pipe", &error))?;
    let copy = writer.try_clone().map_err(|error| io_error("dup", &error))?;
    let port = options.port.unwrap_or_else(port::find_free);
    let mut subject = Experiment::new(options).spawn(port, writer.into(), copy.into())?;
    subject.wait_listening(Duration::from_secs(1));
    drop(subject);
    // poll first: a process that could not be killed may still have the pipe open, and print nothing
    let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, 100u8) != Ok(1) {
        return Ok(String::new());
    }
    let mut output = vec![0; 1000];
    let n = io::Read::read(&mut reader, &mut output).unwrap_or(0);
    output.truncate(n);
    Ok(String::from_utf8_lossy(&output).trim().to_string())
}

/// Convert an error of the standard library, to print it as perror does.
pub fn io_error(what: &'static str, error: &io::Error) -> Error {
    perror(what)(errno_of(error))
}

/// The errno of an error of the standard library; EIO if it has none.
fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
