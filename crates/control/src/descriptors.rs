//! How many files the process may have open, and so how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::door::places::Shares;

/// Descriptors that are not connections of clients: the database, the log, listeners, name
/// resolution, and connections that have just lost their place and are not closed yet.
const OTHERS: usize = 256;

/// Lets the process have as many descriptors as it may, and takes so many places back as there are
/// too few descriptors for.
pub fn places(wished: Shares) -> Shares {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let current = getrlimit(Resource::Nofile).current;
    let available = current.and_then(|current| usize::try_from(current).ok());
    let granted = within(wished, available.unwrap_or(usize::MAX));
    if granted != wished {
        tracing::warn!(
            limit = available,
            wanted = wished.places() + OTHERS,
            places = granted.places(),
            "the limit of open files is too low: fewer connections are served; raise it (LimitNOFILE=)"
        );
    }
    granted
}

fn within(wished: Shares, descriptors: usize) -> Shares {
    // With very few, half of them are still for clients.
    let connections = descriptors.saturating_sub(OTHERS).max(descriptors / 2);
    wished.within(connections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::limits::Limits;

    #[test]
    fn with_few_descriptors_every_class_has_fewer_places() {
        let wished = Limits::default().places;
        assert_eq!(within(wished, usize::MAX), wished);
        assert_eq!(within(wished, wished.places() + OTHERS), wished);
        for descriptors in [100, 1024, 4096] {
            let granted = within(wished, descriptors);
            assert!(granted.places() <= descriptors, "{descriptors}");
            assert!(granted.operators.places > 0 && granted.nodes.places > 0, "{descriptors}");
        }
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        places(Limits::default().places);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
