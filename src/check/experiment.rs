//! What a check has at hand: a fresh server, clients for it, and the message that they send.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::check::options::{Format, Options};
use crate::check::verdict::{Cut, Failure, Outcome, Verdict};
use crate::error::{Error, perror, strerror};
use crate::ffi;
use crate::stdio::{aside, say};
use crate::subject::peer::{Answer, End, Peer};
use crate::subject::port;
use crate::subject::system::{self, in_time_wait};
use crate::subject::{Grace, Subject, wait_until};

/// How long TCP keeps a closed connection, and a little more.
const TIME_WAIT: Duration = Duration::from_secs(65);

/// What a check has at hand.
pub struct Experiment<'a> {
    options: &'a Options,
    /// What was done, step by step, in C notation.
    steps: RefCell<Vec<String>>,
    /// Whether a client that says its message is answered as expected, once that is known.
    pub answered: Cell<Option<bool>>,
    /// How a server has ended that had no reason to.
    ended: Rc<Cell<Option<ExitStatus>>>,
}

impl<'a> Experiment<'a> {
    /// For one check.
    pub fn new(options: &'a Options) -> Experiment<'a> {
        let steps = RefCell::new(Vec::new());
        Experiment { options, steps, answered: Cell::new(None), ended: Rc::default() }
    }

    /// One more, with steps of its own.
    pub fn another(&self) -> Experiment<'a> {
        Experiment::new(self.options)
    }

    /// Whether another check fails, of a server of its own, so that what looks like this one's mistake is that one's.
    pub fn also_fails(&self, check: fn(&Experiment<'_>) -> Outcome) -> Result<bool, Error> {
        match check(&self.another()) {
            Ok(verdict) | Err(Cut::Found(verdict)) => Ok(verdict.failure().is_some()),
            Err(Cut::Trouble(error)) => Err(error),
        }
    }

    /// Keep a step, and print it if that is asked.
    pub fn step(&self, step: impl Into<String>) {
        let step = step.into();
        match self.options.format {
            _ if !self.options.verbose => {}
            Format::Human => say!("        {step}\n"),
            // what reads the findings does not want them
            Format::Tap | Format::Json => aside(format_args!("        {step}")),
        }
        self.steps.borrow_mut().push(step);
    }

    /// The steps so far.
    pub fn steps(&self) -> Vec<String> {
        self.steps.borrow().clone()
    }

    /// How a server has ended that had no reason to, if one has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.ended.get()
    }

    /// How long the server is given for an answer.
    pub fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// What a client says.
    pub fn message(&self) -> &[u8] {
        self.options.send()
    }

    /// The port that the server will be told.
    pub fn free_port(&self) -> u16 {
        self.options.port.unwrap_or_else(port::free)
    }

    /// Start the server afresh, silent, and wait until it listens.
    pub fn start(&self) -> Result<Subject, Error> {
        self.start_printing_to(Stdio::null())
    }

    /// The same, of a server whose process is to be looked at, signalled, or traced.
    pub fn start_in_sight(&self) -> Result<Subject, Cut> {
        let server = self.start()?;
        if server.is_hidden() {
            let why = "it cannot be seen which process listens: its /proc/PID/fd is not to be read";
            return Err(Cut::Found(Verdict::NotObservable(why.into())));
        }
        Ok(server)
    }

    /// The same, with its stdout there.
    pub fn start_printing_to(&self, stdout: Stdio) -> Result<Subject, Error> {
        if let Some(port) = self.options.port {
            // the check before has ended its server
            if !wait_until(Duration::from_secs(5), || !system::listens(port)) {
                let other = format!("something else listens on port {port}");
                return Err(self.interrupted().unwrap_or(Error::NotStarted(other)));
            }
            // a server that does not set SO_REUSEADDR is not to fail every check for that
            wait_until(TIME_WAIT, || !in_time_wait(port));
        }
        self.start_on(self.free_port(), stdout)
    }

    /// The same, on a port.
    pub fn start_on(&self, port: u16, stdout: Stdio) -> Result<Subject, Error> {
        let mut subject = self.spawn(port, stdout, Stdio::null())?;
        // what starts a server in the background and ends may end a moment after the server listens
        let listens = subject.wait_listening(self.timeout())
            && !wait_until(Duration::from_millis(30), || subject.ended().is_some());
        if !listens {
            return Err(self.interrupted().unwrap_or(Error::NotStarted(self.why_not_started(&mut subject))));
        }
        if !subject.get_to_know() {
            let other =
                format!("process {} is another user's, whom this one may not examine, nor end", subject.pid);
            return Err(Error::NotStarted(other));
        }
        subject.must_not_end(&self.ended);
        Ok(subject)
    }

    /// Start the server and do not wait.
    pub fn spawn(&self, port: u16, stdout: Stdio, stderr: Stdio) -> Result<Subject, Error> {
        self.step(format!("start the server on port {port}"));
        Subject::spawn(&self.options.server, port, stdout, stderr).map_err(|error| {
            let program = self.options.server.first().map(|word| word.to_string_lossy().into_owned());
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            Error::NotStarted(format!("{}: {}", program.unwrap_or_default(), strerror(errno)))
        })
    }

    fn why_not_started(&self, subject: &mut Subject) -> String {
        match subject.ended() {
            Some(status) if status.success() => {
                format!(
                    "it has ended ({status}): what puts itself in the background has an option against that"
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

    /// The error to end with, once Ctrl-C has asked for it.
    pub fn interrupted(&self) -> Option<Error> {
        ffi::stop_asked().map(Error::Stopped)
    }

    /// Connect a client. That it cannot connect is a verdict, for a check that gets no further.
    pub fn dial(&self, subject: &Subject) -> Result<Peer, Cut> {
        self.step("client: socket(); connect()");
        let refused = Failure::new("a connection", "connect() failed");
        self.dial_patiently(subject).map_err(|_| Cut::Found(Verdict::Fails(refused)))
    }

    /// The same, without a step. On a busy machine the backlog may be full for longer.
    pub fn dial_patiently(&self, subject: &Subject) -> io::Result<Peer> {
        let grace = Grace::of(subject, self.timeout());
        loop {
            match Peer::dial(subject.port, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut && grace.goes_on() => {}
                dialled => return dialled,
            }
        }
    }

    /// Whether these bytes are the beginning of a right answer.
    pub fn is_answer(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(self.options.expect())
    }

    /// How a right answer begins.
    pub fn expected(&self) -> &[u8] {
        self.options.expect()
    }

    /// Wait for the beginning of an answer.
    pub fn read_answer(&self, subject: &Subject, peer: &mut Peer) -> Answer {
        self.read_answer_after(subject, peer, Vec::new())
    }

    /// The same, of which some has come already.
    pub fn read_answer_after(&self, subject: &Subject, peer: &mut Peer, came: Vec<u8>) -> Answer {
        let answer = self.read_until(subject, peer, came, |bytes| self.is_enough(bytes));
        self.step(format!("client: read() gives {}", answer.describe()));
        answer
    }

    /// The same, without a step.
    pub fn read_answer_quietly(&self, subject: &Subject, peer: &mut Peer) -> Answer {
        self.read_until(subject, peer, Vec::new(), |bytes| self.is_enough(bytes))
    }

    /// Whether so much has come that it can be told from a wrong answer.
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
        mut came: Vec<u8>,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Answer {
        let grace = Grace::of(subject, self.timeout());
        loop {
            let end = peer.read_on(&mut came, self.timeout(), &enough);
            if end != End::Silence || !grace.goes_on() {
                return Answer { bytes: came, end };
            }
        }
    }

    /// A client that says its message and hears the answer.
    pub fn converse(&self, subject: &Subject) -> Option<Answer> {
        let mut peer = self.dial(subject).ok()?;
        self.step(format!("client: write() of {} bytes", self.message().len()));
        peer.send(self.message());
        Some(self.read_answer(subject, &mut peer))
    }

    /// Whether the next client is served.
    pub fn serves(&self, subject: &Subject) -> bool {
        self.converse(subject).is_some_and(|answer| self.is_answer(&answer.bytes))
    }

    /// Whether the server speaks before it is spoken to.
    pub fn greets(&self, subject: &Subject) -> bool {
        let Ok(mut peer) = self.dial(subject) else { return false };
        !peer.read_until(Duration::from_millis(300), |bytes| !bytes.is_empty()).bytes.is_empty()
    }
}

/// What the server says on stdout and stderr when it does not start. The pipe bounds it.
pub fn last_words(options: &Options) -> Result<String, Error> {
    let (mut reader, writer) = io::pipe().map_err(|error| io_error("pipe", &error))?;
    let copy = writer.try_clone().map_err(|error| io_error("dup", &error))?;
    let port = options.port.unwrap_or_else(port::free);
    let mut subject = Experiment::new(options).spawn(port, writer.into(), copy.into())?;
    subject.wait_listening(Duration::from_secs(1));
    drop(subject);
    // what could not be ended may still have the other end, and say nothing
    let mut said = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    if poll(&mut said, 100u8) != Ok(1) {
        return Ok(String::new());
    }
    let mut words = vec![0; 1000];
    let n = io::Read::read(&mut reader, &mut words).unwrap_or(0);
    words.truncate(n);
    Ok(String::from_utf8_lossy(&words).trim().to_string())
}

/// An error of the standard library, as perror says it.
pub fn io_error(what: &'static str, error: &io::Error) -> Error {
    perror(what)(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}
