//! The result of a check: it holds, it fails, or the system does not let it be observed.

use std::fmt::{self, Display, Formatter};

use crate::error::Error;

/// The result of a check, or the reason why it ended early.
pub type Outcome = Result<Verdict, EarlyExit>;

/// Why a check ended early.
#[derive(Debug)]
pub enum EarlyExit {
    /// The verdict is known already.
    Verdict(Verdict),
    /// The examiner itself failed, which says nothing about the server.
    Error(Error),
}

impl From<Error> for EarlyExit {
    fn from(error: Error) -> EarlyExit {
        EarlyExit::Error(error)
    }
}

/// What a check found out about a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server does what the check claims; what was seen, with numbers.
    Holds(String),
    /// The server does something else.
    Fails(Failure),
    /// This system, or this user's permissions, do not allow the check; the reason.
    NotObservable(String),
}

/// What is wrong with the server, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What a correct server does.
    pub expected: String,
    /// What this one did, with numbers.
    pub seen: String,
    /// How to mend this server; `None`: as [`crate::check::list::Check::mend`] says.
    pub mend: Option<&'static str>,
    /// Why it matters; `None`: as [`crate::check::list::Check::why`] says.
    pub why: Option<&'static str>,
}

impl Failure {
    /// A failure with the check's own `mend` and `why`.
    pub fn new(expected: impl Display, seen: impl Display) -> Failure {
        Failure { expected: expected.to_string(), seen: seen.to_string(), mend: None, why: None }
    }
}

/// The check holds; what was seen.
pub fn holds(seen: impl Display) -> Outcome {
    Ok(Verdict::Holds(seen.to_string()))
}

/// The check fails: what was expected, and what was seen.
pub fn fails(expected: impl Display, seen: impl Display) -> Outcome {
    Ok(Verdict::Fails(Failure::new(expected, seen)))
}

/// The check fails, and needs a different mend than the check's own.
pub fn fails_mended_by(mend: &'static str, expected: impl Display, seen: impl Display) -> Outcome {
    Ok(Verdict::Fails(Failure { mend: Some(mend), ..Failure::new(expected, seen) }))
}

/// The check fails, with a different reason why it matters and a different mend than the check's own.
pub fn fails_because(
    why: &'static str,
    mend: &'static str,
    expected: impl Display,
    seen: impl Display,
) -> Outcome {
    Ok(Verdict::Fails(Failure { why: Some(why), mend: Some(mend), ..Failure::new(expected, seen) }))
}

/// The check cannot be made here; the reason.
pub fn not_observable(why: impl Display) -> Outcome {
    Ok(Verdict::NotObservable(why.to_string()))
}

impl Verdict {
    /// Turn this verdict into a failure, because the server exited during the check without being told to: that is the
    /// real mistake.
    pub fn with_unexpected_exit(self, status: impl Display) -> Verdict {
        let (expected, seen) = match self {
            Verdict::Fails(failure) => (failure.expected, format!("{}: ", failure.seen)),
            Verdict::Holds(_) | Verdict::NotObservable(_) => {
                ("the server keeps running".into(), String::new())
            }
        };
        Verdict::Fails(Failure {
            mend: Some(
                "do not end the server because of one client or one failed call: report it, and continue",
            ),
            why: Some("a server that has ended serves nobody"),
            ..Failure::new(expected, format!("{seen}the server has ended: {status}"))
        })
    }

    /// The failure, if the check fails.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Verdict::Fails(failure) => Some(failure),
            _ => None,
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Holds(_) => "holds",
            Verdict::Fails(_) => "fails",
            Verdict::NotObservable(_) => "not observable here",
        })
    }
}
