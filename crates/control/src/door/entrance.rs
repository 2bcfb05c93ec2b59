//! Places as connections take them: [`Places`] decides, here the connections are ended.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::{
    places::{Class, ConnectionId, Full, Holder, Places, Shares},
    source::Source,
};

/// Where connections get their places. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Entrance(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    places: Places,
    /// Cancelled when a connection has to give way.
    ends: BTreeMap<ConnectionId, CancellationToken>,
}

/// The place of a connection, which is free again when the last holder drops it.
#[derive(Clone, Debug)]
pub struct Place(Arc<Held>);

#[derive(Debug)]
struct Held {
    entrance: Entrance,
    id: ConnectionId,
    address: IpAddr,
    end: CancellationToken,
}

impl Entrance {
    /// With all places free.
    pub fn new(shares: Shares) -> Self {
        let state = State { places: Places::new(shares), ends: BTreeMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A place for a new connection. Another one may have to give way to it.
    pub fn enter(&self, address: IpAddr) -> Result<Place, Full> {
        let mut state = self.lock();
        let (id, gave_way) = state.places.enter(Source::from(address))?;
        state.end(gave_way);
        let end = CancellationToken::new();
        state.ends.insert(id, end.clone());
        drop(state);
        Ok(Place(Arc::new(Held { entrance: self.clone(), id, address, end })))
    }

    /// Places taken in a class, and places there are.
    pub fn taken(&self, class: Class) -> (usize, usize) {
        let state = self.lock();
        (state.places.taken(class), state.places.places(class))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, connection: Option<ConnectionId>) {
        if let Some(end) = connection.and_then(|id| self.ends.remove(&id)) {
            end.cancel();
        }
    }
}

impl Place {
    /// The connection turns out to be `holder`'s: from now on it takes one of their places.
    pub fn claim(&self, holder: Holder) -> Result<(), Full> {
        let mut state = self.0.entrance.lock();
        let gave_way = state.places.claim(self.0.id, holder)?;
        state.end(gave_way);
        Ok(())
    }

    /// Keeps the connection from giving way while a request of it is worked on.
    pub fn busy(&self) -> Busy {
        self.0.entrance.lock().places.set_busy(self.0.id, true);
        Busy(self.clone())
    }

    /// Where the connection comes from.
    pub fn address(&self) -> IpAddr {
        self.0.address
    }

    /// Waits until the connection has to give way to another.
    pub async fn given_up(&self) {
        self.0.end.cancelled().await;
    }
}

/// While it lives the connection does not give way.
#[derive(Debug)]
pub struct Busy(Place);

impl Drop for Busy {
    fn drop(&mut self) {
        let held = &self.0.0;
        held.entrance.lock().places.set_busy(held.id, false);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.entrance.lock();
        state.places.leave(self.id);
        state.ends.remove(&self.id);
    }
}
