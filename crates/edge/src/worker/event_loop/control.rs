//! What a worker does when it is told something.

use super::EventLoop;
use crate::worker::{
    Listening, RouteRemoved,
    connection::{Next, Stage},
    mailbox::Command,
    relay,
};

impl EventLoop {
    pub(super) fn on_mail(&mut self) {
        for command in self.mailbox.take() {
            match command {
                Command::SetListeners(wanted) => {
                    self.set_listeners(&wanted);
                    self.accept_again = self.acceptor.resume(&self.context.epoll, self.context.now);
                }
                Command::RoutesRemoved => self.on_routes_removed(),
                Command::Drain(deadline) => {
                    self.set_listeners(&[]);
                    self.ends = Some(self.ends.map_or(deadline, |ends| ends.min(deadline)));
                }
            }
        }
    }

    fn set_listeners(&mut self, wanted: &[Listening]) {
        let mut accepted = std::mem::take(&mut self.accepted);
        self.acceptor.set(&self.context.epoll, wanted, &mut accepted);
        self.begin_all(accepted);
    }

    fn on_routes_removed(&mut self) {
        let cut_at = match self.context.settings.route_removed {
            RouteRemoved::Keep => return,
            RouteRemoved::DrainFor(time) => self.context.now + time,
            RouteRemoved::Cut => self.context.now,
        };
        for key in self.connections.keys() {
            self.work_on(key, |connection, context| {
                let Some(outcome) = connection.removal() else { return Next::Stay };
                if connection.cut_at.is_some() {
                    return Next::Stay;
                }
                if cut_at <= context.now {
                    return Next::End(outcome);
                }
                connection.cut_at = Some(cut_at);
                // The deadline that it has comes first, and then this one if it is sooner.
                if matches!(connection.stage, Stage::Relaying { .. }) {
                    return relay::on_deadline(connection, key, context);
                }
                Next::Stay
            });
        }
    }
}
