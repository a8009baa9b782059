//! What a check finds: it holds, it fails, or it cannot be seen here.

use std::fmt::{self, Display, Formatter};

use crate::error::Error;

/// What a check gives, at its end or where it is cut short.
pub type Outcome = Result<Verdict, Cut>;

/// What cuts a check short.
#[derive(Debug)]
pub enum Cut {
    /// The verdict is found already.
    Found(Verdict),
    /// The examiner's own trouble, which says nothing of the server.
    Trouble(Error),
}

impl From<Error> for Cut {
    fn from(error: Error) -> Cut {
        Cut::Trouble(error)
    }
}

/// What is found of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What is asked for was seen, with figures.
    Holds(String),
    /// Something else was seen.
    Fails(Failure),
    /// It cannot be seen on this system, or not by this user; the reason.
    NotObservable(String),
}

/// What is wrong, so that one can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What a right server does.
    pub expected: String,
    /// What this one did, with figures.
    pub seen: String,
    /// What mends this one, where it is not what mends most that fail the check.
    pub mend: Option<&'static str>,
    /// Why it matters, likewise.
    pub why: Option<&'static str>,
}

impl Failure {
    /// What was expected, and what was seen.
    pub fn new(expected: impl Display, seen: impl Display) -> Failure {
        Failure { expected: expected.to_string(), seen: seen.to_string(), mend: None, why: None }
    }
}

/// It holds; what was seen.
pub fn holds(seen: impl Display) -> Outcome {
    Ok(Verdict::Holds(seen.to_string()))
}

/// It fails: what was expected, and what was seen.
pub fn fails(expected: impl Display, seen: impl Display) -> Outcome {
    Ok(Verdict::Fails(Failure::new(expected, seen)))
}

/// It fails in a way of its own, and this mends it.
pub fn fails_unless(mend: &'static str, expected: impl Display, seen: impl Display) -> Outcome {
    Ok(Verdict::Fails(Failure { mend: Some(mend), ..Failure::new(expected, seen) }))
}

/// The same, and it matters for another reason than that most fail the check for.
pub fn fails_since(
    why: &'static str,
    mend: &'static str,
    expected: impl Display,
    seen: impl Display,
) -> Outcome {
    Ok(Verdict::Fails(Failure { why: Some(why), mend: Some(mend), ..Failure::new(expected, seen) }))
}

/// It cannot be seen, and why.
pub fn not_observable(why: impl Display) -> Outcome {
    Ok(Verdict::NotObservable(why.to_string()))
}

impl Verdict {
    /// The same of a server that has ended meanwhile, which nobody had asked for: the mistake is not what it looks like.
    pub fn of_one_that_ended(self, status: impl Display) -> Verdict {
        let (expected, seen) = match self {
            Verdict::Fails(failure) => (failure.expected, format!("{}: ", failure.seen)),
            Verdict::Holds(_) | Verdict::NotObservable(_) => ("the server goes on".into(), String::new()),
        };
        Verdict::Fails(Failure {
            mend: Some(
                "end no server for what one client does, nor for a call that fails: say so, and go on",
            ),
            why: Some("a server that has ended serves nobody"),
            ..Failure::new(expected, format!("{seen}the server has ended: {status}"))
        })
    }

    /// What is wrong, if something is.
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
