//! How connections end, and what is left of them: a record and some numbers.

use super::{EventLoop, TICK};
use crate::{
    outcome::Outcome,
    worker::{
        connection::{Context, Next, Stage},
        farewell::{self, Manner},
        flow::Held,
        slab::Key,
    },
};

/// Records are handed over when there are so many, and with each tick.
const RECORDS: usize = 64;
/// Most records that wait to be handed over.
const MOST_RECORDS: usize = 4096;

impl EventLoop {
    /// Ends a connection, or lets it hear why first.
    pub(super) fn end_connection(&mut self, key: Key, outcome: Outcome) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let said = matches!(connection.stage, Stage::Farewell { .. });
        let manner = farewell::manner(connection.kind, outcome);
        let next = match manner {
            _ if said => Next::End(outcome),
            // It has broken off for the backend only.
            Manner::Reset
                if matches!(outcome, Outcome::BackendReset | Outcome::BackendGone)
                    && connection.down.is_delivered() =>
            {
                farewell::linger(connection, key, &mut self.context, outcome)
            }
            Manner::Alert(description) => {
                let words = farewell::alert(description);
                farewell::begin(connection, key, &mut self.context, outcome, &words)
            }
            Manner::Answer(words) => {
                farewell::begin(connection, key, &mut self.context, outcome, words.as_bytes())
            }
            Manner::Close | Manner::Reset => Next::End(outcome),
        };
        if next == Next::Stay {
            return;
        }
        self.close(key, outcome, manner == Manner::Reset);
    }

    fn close(&mut self, key: Key, outcome: Outcome, reset: bool) {
        let Some(mut connection) = self.connections.remove(key) else { return };
        let context = &mut self.context;
        context.wheel.cancel(key.index);
        // A reset would take back what the kernel still has of a stream that was passed on whole.
        if reset && !connection.down.is_delivered() {
            connection.client.reset_on_close();
        }
        if let Some(backend) = connection.backend.as_ref().filter(|_| reset)
            && !connection.up.is_delivered()
        {
            backend.reset_on_close();
        }
        for flow in [&mut connection.up, &mut connection.down] {
            if let Held::Pipe(pipe) = flow.take_held() {
                context.pipes.give_back(pipe, &context.counters);
            }
        }
        let counters = &context.counters;
        counters.current.subtract(1);
        if connection.admission.is_preread() {
            counters.prereads.subtract(1);
        }
        counters.count_end(outcome);
        if context.access.is_some() && outcome.is_worth_logging() {
            context.records.push(connection.record(outcome, context.now));
            if context.records.len() >= RECORDS {
                self.hand_over_records();
            }
        }
    }

    pub(super) fn hand_over_records(&mut self) {
        let Context { access, records, now, .. } = &mut self.context;
        self.records_due = *now + TICK;
        let Some(access) = access else { return records.clear() };
        access.send(records);
        if records.len() > MOST_RECORDS {
            access.count_dropped(records.len());
            records.clear();
        }
    }

    /// Cuts what is left, and leaves nothing behind.
    pub(super) fn end(mut self) {
        let left = self.connections.keys();
        self.mailbox.set_cut(left.len());
        for key in left {
            self.close(key, Outcome::Shutdown, true);
        }
        // Somebody else may be at the queue just now.
        while !self.context.records.is_empty() {
            self.hand_over_records();
            std::thread::yield_now();
        }
    }
}
