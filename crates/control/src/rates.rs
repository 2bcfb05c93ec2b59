//! How fast the operators of an org may cause events at this replica: a bucket of tokens per org
//! that fills by its quota per minute and holds one minute's worth.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sextant_model::{
    OrgId, Timestamp,
    quota::{Quota, QuotaExceeded},
};

/// The buckets of one replica.
#[derive(Debug, Default)]
pub struct Rates(Mutex<BTreeMap<OrgId, Bucket>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    limit: u64,
    /// When the limit was asked for.
    asked: Timestamp,
    /// In units that it fills by, one for each event of the limit in each millisecond; less than
    /// nothing after what cost more than there was.
    left: i128,
    at: Timestamp,
}

/// Units in a bucket for each event: the milliseconds of a minute.
const EVENT: i128 = 60_000;
/// Buckets that are kept before full ones are thrown away.
const KEPT: usize = 10_000;
/// How long a limit that was asked for is believed.
const BELIEVED: Duration = Duration::from_secs(60);

impl Rates {
    /// Whether the limit of an org has to be asked for, with [`Rates::learn`] as the answer.
    pub fn must_ask(&self, org: OrgId, now: Timestamp) -> bool {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.get(&org).is_none_or(|bucket| now.0 - bucket.asked.0 > BELIEVED)
    }

    /// An org may cause `limit` events a minute.
    pub fn learn(&self, org: OrgId, limit: u64, now: Timestamp) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEPT {
            buckets.retain(|_, bucket| bucket.filled(now) < bucket.full());
        }
        let fresh = Bucket { limit, asked: now, left: i128::from(limit) * EVENT, at: now };
        let bucket = buckets.entry(org).or_insert(fresh);
        (bucket.limit, bucket.asked) = (limit, now);
    }

    /// Takes `events` out of the bucket of an org. What costs more than is left is let through once
    /// if the bucket is full, and then waited for.
    pub fn take(&self, org: OrgId, events: u64, now: Timestamp) -> Result<(), QuotaExceeded> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = buckets.get_mut(&org) else { return Ok(()) };
        let (left, full, cost) = (bucket.filled(now), bucket.full(), i128::from(events) * EVENT);
        if left < EVENT || (left < full && left < cost) {
            let (quota, limit) = (Quota::EventsPerMinute, bucket.limit);
            let used = u64::try_from((full - left.max(0)) / EVENT).unwrap_or(limit);
            return Err(QuotaExceeded { quota, limit, used, more: events });
        }
        (bucket.left, bucket.at) = (left - cost, now);
        Ok(())
    }
}

impl Bucket {
    fn full(self) -> i128 {
        i128::from(self.limit) * EVENT
    }

    fn filled(self, now: Timestamp) -> i128 {
        let passed = (now.0 - self.at.0).whole_milliseconds().max(0);
        (self.left + passed * i128::from(self.limit)).min(self.full())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_org_that_has_used_up_its_minute_waits_and_no_other_does() {
        let rates = Rates::default();
        let (one, other) = (OrgId(Uuid::from_u128(1)), OrgId(Uuid::from_u128(2)));
        let start = Timestamp::from_unix_seconds(1_800_000_000).expect("time");
        assert!(rates.must_ask(one, start));
        rates.learn(one, 60, start);
        rates.learn(other, 60, start);
        assert!(!rates.must_ask(one, start) && rates.must_ask(one, start.after(2 * BELIEVED)));
        for _ in 0..60 {
            rates.take(one, 1, start).expect("its minute");
        }
        let refused = rates.take(one, 1, start).expect_err("used up");
        assert_eq!((refused.limit, refused.used), (60, 60));
        rates.take(other, 1, start).expect("its own");
        let later = start.after(Duration::from_secs(2));
        rates.take(one, 2, later).expect("two seconds later");
        rates.take(one, 1, later).expect_err("no more than two");
        rates.learn(one, 600, later);
        rates.take(one, 10, later.after(Duration::from_secs(1))).expect("ten a second now");
    }

    #[test]
    fn what_costs_more_than_a_minute_holds_goes_through_once() {
        let rates = Rates::default();
        let org = OrgId(Uuid::from_u128(1));
        let start = Timestamp::from_unix_seconds(1_800_000_000).expect("time");
        rates.learn(org, 60, start);
        rates.take(org, 201, start).expect("a full bucket");
        rates.take(org, 1, start.after(Duration::from_secs(60))).expect_err("still in debt");
        rates.take(org, 1, start.after(Duration::from_secs(150))).expect("paid");
    }
}
