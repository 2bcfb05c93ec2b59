//! The figures side by side.

use std::{
    collections::BTreeSet,
    fmt::{self, Write},
};

use serde_json::{Map, Value, json};

use super::{
    goals::{GOALS, Goal},
    meter::TOLERABLE,
    scenario::{Figure, Outcome, Scenario, slow::SlowReport},
    subject::Subject,
};
use crate::{bench::PROFILE, status::aligned};

/// One measurement.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) round: u32,
    pub(super) scenario: Scenario,
    pub(super) subject: Subject,
    /// What was measured, or why nothing was.
    pub(super) outcome: Result<Outcome, String>,
}

/// All measurements.
#[derive(Debug)]
pub struct Report {
    rounds: u32,
    samples: Vec<Sample>,
}

/// How sextant-edge stands to the peer that is hardest to beat.
struct Verdict {
    goal: &'static Goal,
    scenario: Scenario,
    peer: Subject,
    ratio: f64,
    /// Whether others used the cores in too many of the measurements behind it.
    is_disturbed: bool,
}

impl Verdict {
    fn text(&self) -> &'static str {
        match (self.goal.bound.holds(self.ratio), self.is_disturbed) {
            (true, false) => "reached",
            (true, true) => "UNPROVEN: others used the machine",
            (false, false) => "MISSED",
            (false, true) => "MISSED, but others used the machine",
        }
    }
}

impl Sample {
    fn figure(&self, figure: Figure) -> Option<f64> {
        let figures = &self.outcome.as_ref().ok()?.figures;
        figures.iter().find(|(kind, _)| *kind == figure).map(|(_, value)| *value)
    }

    fn json(&self) -> Value {
        let result = match &self.outcome {
            Err(error) => json!({ "error": error }),
            Ok(Outcome { figures, span }) => {
                let figures = figures.iter().map(|(figure, value)| {
                    let name = serde_json::to_value(figure).unwrap_or_default();
                    (name.as_str().unwrap_or_default().to_owned(), json!(value))
                });
                json!({
                    "figures": figures.collect::<Map<_, _>>(),
                    "proxy_core_share": span.proxy_share(),
                    "load_core_share": span.load_share(),
                    "foreign_share": span.foreign_share(),
                })
            }
        };
        let (round, load, subject) = (self.round, self.scenario, self.subject);
        json!({ "round": round, "load": load, "subject": subject, "result": result })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}  {}: ", self.subject, self.scenario)?;
        match &self.outcome {
            Err(error) => write!(f, "FAILED: {error}"),
            Ok(Outcome { figures, span }) => {
                for (figure, value) in figures {
                    write!(f, "{} {figure}, ", cell(*value))?;
                }
                let percent = |share: f64| share * 100.0;
                let (proxy, load) = (percent(span.proxy_share()), percent(span.load_share()));
                write!(f, "proxy {proxy:.0} %, load {load:.0} %")?;
                if span.is_disturbed() {
                    write!(f, ", OTHERS {:.0} %", percent(span.foreign_share()))?;
                }
                Ok(())
            }
        }
    }
}

impl Report {
    pub(super) const fn new(rounds: u32, samples: Vec<Sample>) -> Self {
        Self { rounds, samples }
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Whether sextant-edge stood all loads and reached all goals, undisturbed.
    pub fn is_good(&self) -> bool {
        self.failures().all(|sample| sample.subject != Subject::Sextant)
            && self.verdicts().all(|it| it.goal.bound.holds(it.ratio) && !it.is_disturbed)
    }

    /// Every measurement, and the verdicts, as JSON.
    pub(super) fn json(&self, slow: Option<&SlowReport>) -> String {
        let verdicts =
            self.verdicts().map(|Verdict { goal, scenario, peer, ratio, is_disturbed }| {
                json!({
                    "load": scenario,
                    "figure": goal.figure,
                    "goal": goal.bound.to_string(),
                    "peer": peer,
                    "ratio": ratio,
                    "reached": goal.bound.holds(ratio),
                    "disturbed": is_disturbed,
                })
            });
        let report = json!({
            "rounds": self.rounds,
            "profile": PROFILE,
            "samples": self.samples.iter().map(Sample::json).collect::<Vec<_>>(),
            "goals": verdicts.collect::<Vec<_>>(),
            "slow": slow.map(SlowReport::json),
        });
        format!("{report:#}")
    }

    fn failures(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.outcome.is_err())
    }

    /// The figure of one subject in one round.
    fn value(&self, round: u32, of: (Scenario, Figure), subject: Subject) -> Option<f64> {
        let (scenario, figure) = of;
        let mut samples = self.samples.iter();
        samples
            .find(|it| it.round == round && it.scenario == scenario && it.subject == subject)?
            .figure(figure)
    }

    /// The median over the rounds.
    fn median(&self, of: (Scenario, Figure), subject: Subject) -> Option<f64> {
        median((0..self.rounds).filter_map(|round| self.value(round, of, subject)).collect())
    }

    /// The median over the rounds of sextant-edge's ratio to a peer.
    fn ratio(&self, of: (Scenario, Figure), peer: Subject) -> Option<f64> {
        let ratios = (0..self.rounds).filter_map(|round| {
            Some(self.value(round, of, Subject::Sextant)? / self.value(round, of, peer)?)
        });
        median(ratios.collect())
    }

    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        GOALS.iter().filter_map(|goal| {
            let measured = self.samples.iter().map(|sample| sample.scenario);
            let scenario = measured.clone().find(|it| goal.judges(*it))?;
            let of = (scenario, goal.figure);
            let peers = self.subjects().into_iter().filter(|subject| subject.is_peer());
            peers
                .filter_map(|peer| {
                    let is_disturbed = [peer, Subject::Sextant]
                        .into_iter()
                        .any(|subject| self.is_disturbed(scenario, subject));
                    Some(Verdict {
                        goal,
                        scenario,
                        peer,
                        ratio: self.ratio(of, peer)?,
                        is_disturbed,
                    })
                })
                .reduce(
                    |one, other| {
                        if goal.bound.is_harder(other.ratio, one.ratio) { other } else { one }
                    },
                )
        })
    }

    /// The median share of the cores that others used.
    fn is_disturbed(&self, scenario: Scenario, subject: Subject) -> bool {
        let share = self.share(scenario, subject, |outcome| outcome.span.foreign_share());
        share.is_some_and(|share| share > TOLERABLE)
    }

    fn subjects(&self) -> BTreeSet<Subject> {
        self.samples.iter().map(|sample| sample.subject).collect()
    }

    /// Every load with its kinds of figures, in the order they were measured.
    fn rows(&self) -> Vec<(Scenario, Vec<Figure>)> {
        let mut rows: Vec<(Scenario, Vec<Figure>)> = Vec::new();
        for sample in &self.samples {
            if let Ok(outcome) = &sample.outcome
                && rows.iter().all(|(scenario, _)| *scenario != sample.scenario)
            {
                rows.push((
                    sample.scenario,
                    outcome.figures.iter().map(|(figure, _)| *figure).collect(),
                ));
            }
        }
        rows
    }

    fn table(&self) -> String {
        let subjects = self.subjects();
        let mut text = String::new();
        for (scenario, figures) in self.rows() {
            let header = std::iter::once(scenario.to_string())
                .chain(subjects.iter().map(Subject::to_string));
            let mut rows = vec![header.collect::<Vec<_>>()];
            for figure in figures {
                let values = subjects.iter().map(|subject| {
                    self.median((scenario, figure), *subject).map_or("-".to_owned(), cell)
                });
                rows.push(std::iter::once(format!("  {figure}")).chain(values).collect());
            }
            for (name, of) in SHARES {
                let values = subjects.iter().map(|subject| {
                    let share = self.share(scenario, *subject, of);
                    share.map_or("-".to_owned(), |share| format!("{:.0}", share * 100.0))
                });
                rows.push(std::iter::once(format!("  {name}")).chain(values).collect());
            }
            let _ = writeln!(text, "{}\n", aligned(&rows));
        }
        text
    }

    fn share(&self, scenario: Scenario, subject: Subject, of: Share) -> Option<f64> {
        let samples = self.samples.iter();
        let of_these = samples.filter(|it| it.scenario == scenario && it.subject == subject);
        median(of_these.filter_map(|it| Some(of(it.outcome.as_ref().ok()?))).collect())
    }
}

type Share = fn(&Outcome) -> f64;

const SHARES: [(&str, Share); 3] = [
    ("proxy's core, %", |outcome| outcome.span.proxy_share()),
    ("load's core, %", |outcome| outcome.span.load_share()),
    ("others, %", |outcome| outcome.span.foreign_share()),
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Medians of {} rounds; one core for the proxy, one for clients and servers together; \
             the load generator is of the {PROFILE} profile.\n",
            self.rounds
        )?;
        write!(f, "{}", self.table())?;
        for sample in self.failures() {
            writeln!(f, "{sample}")?;
        }
        let mut rows = Vec::new();
        for verdict in self.verdicts() {
            rows.push(vec![
                verdict.scenario.to_string(),
                verdict.goal.figure.to_string(),
                format!("goal {}", verdict.goal.bound),
                format!("{:.2} of {}", verdict.ratio, verdict.peer),
                verdict.text().to_owned(),
            ]);
        }
        if rows.is_empty() {
            return write!(
                f,
                "No goal was looked at: sextant-edge or its peers were not measured."
            );
        }
        writeln!(f, "sextant-edge to the best peer, median of the rounds' ratios:")?;
        write!(f, "{}", aligned(&rows))
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

/// Three significant digits, or all before the point.
fn cell(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
