//! Gives an event or a deadline to whoever looks after the stage that a connection is in.

use rustix::event::epoll::EventFlags;

use super::{
    connection::{Connection, Context, Next, Stage},
    dial, farewell, intake, relay,
    slab::Key,
};
use crate::outcome::Outcome;

/// The client can be read from or written to, or is gone.
pub fn on_client(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    flags: EventFlags,
) -> Next {
    match std::mem::replace(&mut connection.stage, Stage::Fresh) {
        Stage::Preread(waiting) => intake::resume(connection, key, context, waiting),
        Stage::Dialling(_) if flags.contains(EventFlags::ERR) => {
            Next::End(relay::client_lost(connection.client.loss()))
        }
        stage @ Stage::Relaying { .. } => {
            connection.stage = stage;
            relay::resume(connection, key, context)
        }
        stage => {
            connection.stage = stage;
            farewell::resume(connection, context)
        }
    }
}

/// The backend can be read from or written to, or is gone.
pub fn on_backend(connection: &mut Connection, key: Key, context: &mut Context) -> Next {
    match std::mem::replace(&mut connection.stage, Stage::Fresh) {
        Stage::Dialling(dialling) => dial::resume(connection, key, context, dialling),
        stage @ Stage::Relaying { .. } => {
            connection.stage = stage;
            relay::resume(connection, key, context)
        }
        stage => {
            connection.stage = stage;
            Next::Stay
        }
    }
}

/// The time of the stage is over.
pub fn on_deadline(connection: &mut Connection, key: Key, context: &mut Context) -> Next {
    match std::mem::replace(&mut connection.stage, Stage::Fresh) {
        Stage::Preread(_) => Next::End(Outcome::TooSlow),
        Stage::Dialling(dialling) => dial::time_out(connection, key, context, dialling),
        stage @ Stage::Farewell { outcome, .. } => {
            connection.stage = stage;
            Next::End(outcome)
        }
        stage => {
            connection.stage = stage;
            relay::on_deadline(connection, key, context)
        }
    }
}
