//! Turns as requests take them: [`Turns`] decides, here they are waited for.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::turns::{Asked, Rules, Ticket, Turns, Who};

/// A kind of work with its bounds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lane(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    turns: Turns,
    waiters: BTreeMap<Ticket, oneshot::Sender<()>>,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTurn {
    /// Too many requests of the same org, token, node or source wait.
    #[error("too many requests of the same org, token or node are waiting; send fewer at a time")]
    GroupFull,
    /// Too many wait, or the turn did not come in time.
    #[error("the control plane is busy; try again in a moment")]
    Full,
}

/// The right to work, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    lane: Lane,
    who: Who,
}

impl Lane {
    /// With nobody in it.
    pub fn new(rules: Rules) -> Self {
        let state = State { turns: Turns::new(rules), waiters: BTreeMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Waits for a turn, at most for `patience`.
    pub async fn turn(&self, who: Who, patience: Duration) -> Result<Turn, NoTurn> {
        let Some(waiting) = self.ask(who)? else { return Ok(self.started(who)) };
        tokio::time::timeout(patience, waiting.turn()).await.map_err(|_| NoTurn::Full)
    }

    /// Waits for a turn as long as it takes.
    pub async fn turn_at_last(&self, who: Who) -> Result<Turn, NoTurn> {
        match self.ask(who)? {
            None => Ok(self.started(who)),
            Some(waiting) => Ok(waiting.turn().await),
        }
    }

    /// How many work and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        self.lock().turns.counts()
    }

    fn started(&self, who: Who) -> Turn {
        Turn { lane: self.clone(), who }
    }

    /// `None` if the turn is there already.
    fn ask(&self, who: Who) -> Result<Option<Waiting>, NoTurn> {
        let mut state = self.lock();
        match state.turns.ask(who) {
            Asked::Go => Ok(None),
            Asked::GroupFull => Err(NoTurn::GroupFull),
            Asked::Full => Err(NoTurn::Full),
            Asked::Wait(ticket) => {
                let (sender, turn) = oneshot::channel();
                state.waiters.insert(ticket, sender);
                Ok(Some(Waiting { lane: self.clone(), who, ticket, turn: Some(turn) }))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn done(&mut self, who: Who) {
        for ticket in self.turns.done(who) {
            // Whoever has gone meanwhile gives the turn back when it drops its place in the queue.
            if let Some(waiter) = self.waiters.remove(&ticket) {
                let _ = waiter.send(());
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.lane.lock().done(self.who);
    }
}

/// A place in the queue.
struct Waiting {
    lane: Lane,
    who: Who,
    ticket: Ticket,
    /// Taken when the turn has come.
    turn: Option<oneshot::Receiver<()>>,
}

impl Waiting {
    async fn turn(mut self) -> Turn {
        if let Some(turn) = self.turn.as_mut() {
            // The sender is dropped only after it has sent.
            let _ = turn.await;
        }
        self.turn = None;
        self.lane.started(self.who)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.turn.is_none() {
            return;
        }
        let mut state = self.lane.lock();
        if state.waiters.remove(&self.ticket).is_some() {
            state.turns.forget(self.ticket, self.who);
        } else {
            // The turn had come, but nobody was there to take it.
            state.done(self.who);
        }
    }
}

/// The turn of the request that runs in this task, which it gives up while it waits for others.
#[derive(Debug)]
struct Held {
    lane: Lane,
    who: Who,
    patience: Duration,
    turn: Mutex<Option<Turn>>,
}

tokio::task_local! {
    static HELD: Arc<Held>;
}

/// Runs a request that has its turn.
pub async fn with_turn<F: Future>(turn: Turn, patience: Duration, request: F) -> F::Output {
    let (lane, who) = (turn.lane.clone(), turn.who);
    let held = Held { lane, who, patience, turn: Mutex::new(Some(turn)) };
    HELD.scope(Arc::new(held), request).await
}

/// Gives the turn up: what is left to do is waiting, and that may take as long as others like.
pub fn give_up_turn() {
    let _ = HELD.try_with(|held| {
        drop(held.turn.lock().unwrap_or_else(PoisonError::into_inner).take());
    });
}

/// Takes a turn again after [`give_up_turn`].
pub async fn take_turn_again() -> Result<(), NoTurn> {
    let Ok(held) = HELD.try_with(Arc::clone) else { return Ok(()) };
    let turn = held.lane.turn(held.who, held.patience).await?;
    *held.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules =
        Rules { at_once: 1, of_group: 1, of_member: 1, queue_of_group: 2, queue: 9 };
    const SOON: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    fn who(group: u128) -> Who {
        Who { group, member: group }
    }

    #[tokio::test]
    async fn a_turn_that_nobody_waits_for_any_more_goes_to_the_next() {
        let lane = Lane::new(RULES);
        let first = lane.turn(who(1), LONG).await.expect("free");
        let mut gone = Box::pin(lane.turn(who(2), LONG));
        let mut next = Box::pin(lane.turn(who(3), LONG));
        assert!(futures_util::poll!(&mut gone).is_pending());
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(first);
        drop(gone);
        drop(next.await.expect("its turn"));
        assert_eq!(lane.counts(), (0, 0));
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_so_and_forgotten() {
        let lane = Lane::new(RULES);
        let first = lane.turn(who(1), LONG).await.expect("free");
        assert_eq!(lane.turn(who(2), SOON).await.expect_err("busy"), NoTurn::Full);
        assert_eq!(lane.counts(), (1, 0));
        drop(first);
        assert_eq!(lane.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_request_that_waits_for_others_lets_the_next_one_work() {
        let lane = Lane::new(RULES);
        let turn = lane.turn(who(1), LONG).await.expect("free");
        with_turn(turn, LONG, async {
            give_up_turn();
            let other = lane.turn(who(2), SOON).await.expect("free meanwhile");
            drop(other);
            take_turn_again().await.expect("free again");
            assert_eq!(lane.counts(), (1, 0));
        })
        .await;
        assert_eq!(lane.counts(), (0, 0));
    }
}
