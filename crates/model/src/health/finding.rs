//! A finding, as it travels.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Kind, Node, text::plain};
use crate::id::NodeId;

/// How bad a finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something does not work.
    Failure,
    /// Everything works for now.
    Warning,
    /// Worth knowing; nothing has to be done.
    Note,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word for what it is; see `docs/health.md`. Newer versions know more of them.
    pub kind: String,
    /// What it is about: `node n1`, `pair n1, n2`.
    pub subject: String,
    /// The nodes it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeId>,
    /// What is wrong and, as far as that is known, why.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// Puts one together. What others have said of themselves is cleaned here.
    pub(super) fn new(
        kind: Kind,
        subject: impl Into<String>,
        what: impl AsRef<str>,
        remedy: impl AsRef<str>,
    ) -> Self {
        Self {
            severity: kind.severity(),
            kind: kind.word().into(),
            subject: subject.into(),
            nodes: Vec::new(),
            what: plain(what.as_ref()),
            remedy: plain(remedy.as_ref()),
        }
    }

    /// About one node.
    pub(super) fn of(
        node: &Node<'_>,
        kind: Kind,
        what: impl AsRef<str>,
        remedy: impl AsRef<str>,
    ) -> Self {
        Self::new(kind, format!("node {}", node.name), what, remedy).about([node.id])
    }

    /// Says which nodes it is about.
    pub(super) fn about(mut self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        self.nodes = nodes.into_iter().collect();
        self
    }

    /// Whether something has to be done: a note alone leaves a platform well.
    pub fn is_wrong(&self) -> bool {
        self.severity != Severity::Note
    }
}
