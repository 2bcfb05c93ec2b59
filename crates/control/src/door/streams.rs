//! How many streams each token, org and node has open.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::limits::StreamLimits;
use crate::auth::Principal;

/// The streams that are open. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Streams {
    limits: StreamLimits,
    open: Arc<Mutex<BTreeMap<Uuid, usize>>>,
}

/// The right to one stream, until it is dropped.
#[derive(Debug)]
pub struct OpenStream {
    streams: Streams,
    of: [Option<Uuid>; 2],
}

/// Too many streams of the same caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{of} has {most} streams open at this replica, which is as many as it may; end one first")]
pub struct TooManyStreams {
    of: &'static str,
    most: usize,
}

impl Streams {
    /// None open.
    pub fn new(limits: StreamLimits) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// One more of `who`, if it may have one.
    pub fn open(&self, who: Principal) -> Result<OpenStream, TooManyStreams> {
        let StreamLimits { of_token, of_org, of_node } = self.limits;
        let counted = match who {
            Principal::Node { node_id, .. } => [Some(("this node", node_id.0, of_node)), None],
            Principal::Operator { token_id, org, .. } => [
                Some(("this API token", token_id.0, of_token)),
                org.map(|org| ("this org", org.0, of_org)),
            ],
        };
        let mut open = self.lock();
        for (of, id, most) in counted.into_iter().flatten() {
            if open.get(&id).is_some_and(|count| *count >= most) {
                return Err(TooManyStreams { of, most });
            }
        }
        let of = counted.map(|counted| counted.map(|(_, id, _)| id));
        for id in of.into_iter().flatten() {
            *open.entry(id).or_default() += 1;
        }
        drop(open);
        Ok(OpenStream { streams: self.clone(), of })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        for id in self.of.into_iter().flatten() {
            match open.get_mut(&id) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(open.remove(&id)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sextant_model::{ApiTokenId, OperatorRole, OrgId};

    #[test]
    fn tokens_and_orgs_have_their_bounds_and_get_everything_back() {
        let streams = Streams::new(StreamLimits { of_token: 2, of_org: 3, of_node: 1 });
        let holder = |org: u128, token: u128| Principal::Operator {
            token_id: ApiTokenId(Uuid::from_u128(token)),
            role: OperatorRole::Viewer,
            org: Some(OrgId(Uuid::from_u128(org))),
        };
        let mut open = vec![streams.open(holder(1, 11)).expect("first")];
        open.push(streams.open(holder(1, 11)).expect("second"));
        assert!(streams.open(holder(1, 11)).is_err(), "no third of the token");
        open.push(streams.open(holder(1, 12)).expect("third of the org"));
        assert!(streams.open(holder(1, 12)).is_err(), "no fourth of the org");
        streams.open(holder(2, 21)).expect("another org is not touched");
        open.clear();
        assert!(streams.lock().is_empty());
    }
}
