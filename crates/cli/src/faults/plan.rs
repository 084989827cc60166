//! What shall go wrong, and how often.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Something that befalls a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing is done; 500 or 503.
    Broken,
    /// Nothing is done; 429 with `Retry-After`.
    Throttle,
    /// Nothing is done, and nothing is answered.
    Hang,
    /// Nothing is done: the connection ends within the request.
    CutRequest,
    /// It is done, and the connection ends before the reply.
    LostReply,
    /// It is done, and the connection ends within the reply.
    CutReply,
    /// Nothing is done; 403, as after a change of credentials.
    Denied,
    /// It came while the server was away.
    Away,
    /// It is done, later than it would have been.
    Late,
    /// It is done without its condition (`If-None-Match`), or answered as if it were.
    Unconditional,
}

/// How a server is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outage {
    /// It takes no connection, and those that there are end.
    #[default]
    Refuses,
    /// It answers 503.
    Answers,
    /// It answers nothing.
    Hangs,
}

/// An outage at a set time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// So long after the start.
    pub after: Duration,
    /// For so long.
    pub lasts: Duration,
    /// In this manner.
    pub outage: Outage,
}

/// How much later requests are done: half of them later than the median, one in a hundred later
/// than the other (log-normal, 60 s at most).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The median.
    pub median: Duration,
    /// The 99th percentile, at least the median.
    pub p99: Duration,
}

/// Only requests with this header are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Only {
    /// Name of the header, in lower case.
    pub header: String,
    /// Its value.
    pub value: String,
}

/// What shall go wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Each fault with its share of the requests, from 0 to 1; together at most 1.
    pub shares: Vec<(Fault, f64)>,
    /// What `Retry-After` says, in whole seconds.
    pub retry_after: u64,
    /// How much later requests are done.
    pub latency: Option<Latency>,
    /// Outages at set times.
    pub windows: Vec<Window>,
    /// The server ignores conditions: `If-None-Match` does not get there, or, where it is signed, the
    /// answer says that the object was written over.
    pub ignores_conditions: bool,
    /// Shares and latency concern these requests alone.
    pub only: Option<Only>,
}

/// Why a text is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no fault: write a share of all requests such as 2%, or, joined by +, any of {}, \
     outage:20s@5s (for 20 s, 5 s after the start), unconditional",
    NAMES.map(|(name, _)| format!("{name}:1%")).join(", ")
)]
pub struct PlanError {
    /// The text.
    pub text: String,
}

/// The faults that have shares.
const NAMES: [(&str, Fault); 7] = [
    ("broken", Fault::Broken),
    ("throttle", Fault::Throttle),
    ("hang", Fault::Hang),
    ("cut-request", Fault::CutRequest),
    ("lost-reply", Fault::LostReply),
    ("cut-reply", Fault::CutReply),
    ("denied", Fault::Denied),
];

// === impl Plan ===

impl Plan {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self {
            retry_after: 1,
            ..Self::default()
        }
    }

    /// A plan of `shares`, and nothing else.
    #[must_use]
    pub fn of(shares: impl IntoIterator<Item = (Fault, f64)>) -> Self {
        Self {
            shares: shares.into_iter().collect(),
            ..Self::none()
        }
    }

    /// The faults that pass by themselves and soon, in this share of all requests together.
    #[must_use]
    pub fn mixed(share: f64) -> Self {
        Self::of([
            (Fault::Broken, share * 0.6),
            (Fault::Throttle, share * 0.1),
            (Fault::CutRequest, share * 0.1),
            (Fault::LostReply, share * 0.1),
            (Fault::CutReply, share * 0.1),
        ])
    }

    /// Every kind of fault that it asks for.
    pub fn kinds(&self) -> impl Iterator<Item = Fault> {
        let shares = self.shares.iter().filter(|(_, share)| *share > 0.0);
        let more = [
            (Fault::Late, self.latency.is_some()),
            (Fault::Away, !self.windows.is_empty()),
            (Fault::Unconditional, self.ignores_conditions),
        ];
        let more = more.into_iter().filter(|(_, asked)| *asked);
        shares
            .map(|(fault, _)| *fault)
            .chain(more.map(|(fault, _)| fault))
    }

    fn add(&mut self, text: &str) -> Option<()> {
        if text == "unconditional" {
            self.ignores_conditions = true;
            return Some(());
        }
        let (name, value) = text.split_once(':')?;
        if name == "outage" {
            let (lasts, after) = value.split_once('@')?;
            self.windows.push(Window {
                after: seconds(after)?,
                lasts: seconds(lasts)?,
                outage: Outage::default(),
            });
            return Some(());
        }
        let (_, fault) = NAMES.iter().find(|(known, _)| *known == name)?;
        self.shares.push((*fault, share(value)?));
        Some(())
    }
}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let wrong = || PlanError {
            text: text.to_owned(),
        };
        if let Some(share) = share(text) {
            return Ok(Self::mixed(share));
        }
        let mut plan = Self::none();
        for part in text.split('+') {
            plan.add(part.trim()).ok_or_else(wrong)?;
        }
        let sum: f64 = plan.shares.iter().map(|(_, share)| share).sum();
        if sum > 1.0 { Err(wrong()) } else { Ok(plan) }
    }
}

fn share(text: &str) -> Option<f64> {
    let percent: f64 = text.trim().strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().strip_suffix('s')?.parse().ok()?;
    (seconds <= 86_400).then(|| Duration::from_secs(seconds))
}

// === impl Fault ===

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().find(|(_, fault)| fault == self);
        f.write_str(match (self, named) {
            (_, Some((name, _))) => name,
            (Self::Away, None) => "away",
            (Self::Late, None) => "late",
            (_, None) => "unconditional",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_or_a_list_of_faults_is_a_plan() {
        assert_eq!("2%".parse(), Ok(Plan::mixed(0.02)));
        let plan: Plan = "broken:20%+throttle:2%+outage:20s@5s+unconditional"
            .parse()
            .unwrap();
        assert_eq!(plan.shares, [(Fault::Broken, 0.2), (Fault::Throttle, 0.02)]);
        assert_eq!(plan.windows[0].lasts, Duration::from_secs(20));
        assert_eq!(plan.kinds().count(), 4);
        for wrong in [
            "2",
            "-1%",
            "101%",
            "x:1%",
            "broken:60%+hang:60%",
            "outage:5s",
            "",
            "+",
        ] {
            let error = wrong.parse::<Plan>().unwrap_err().to_string();
            assert!(error.contains("lost-reply:1%"), "{wrong}: {error}");
        }
    }
}
