use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::talk;

fn once(
    address: SocketAddr,
    first: &[u8],
    greeting: usize,
    served: &AtomicUsize,
    failures: &Mutex<Vec<String>>,
) {
    match talk(address, first, greeting) {
        Ok(_) => drop(served.fetch_add(1, SeqCst)),
        Err(error) => failures.lock().expect("lock").push(error.to_string()),
    }
}

/// Clients that connect one after the other, until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(address: SocketAddr, greeting: usize, clients: usize) -> Self {
        Self::with(address, b"ping".to_vec(), greeting, clients)
    }

    /// Each sends `first`.
    pub fn with(address: SocketAddr, first: Vec<u8>, greeting: usize, clients: usize) -> Self {
        let (stop, served, failures) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<_>)>::default();
        let client = |_| {
            let (stop, served, first) = (stop.clone(), served.clone(), first.clone());
            let failures: Arc<Mutex<Vec<String>>> = Arc::clone(&failures);
            std::thread::spawn(move || {
                while !stop.load(SeqCst) {
                    once(address, &first, greeting, &served, &failures);
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, served, failures, clients }
    }

    /// Clients that come `rate` times a second, whether those before them were served or not.
    pub fn open(address: SocketAddr, greeting: usize, rate: u32) -> Self {
        let (stop, served, failures) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<_>)>::default();
        let pacer = {
            let (stop, served, failures) = (stop.clone(), served.clone(), Arc::clone(&failures));
            std::thread::spawn(move || {
                let (begin, mut clients) = (Instant::now(), Vec::new());
                for number in 0.. {
                    if stop.load(SeqCst) {
                        break;
                    }
                    let due = begin + Duration::from_secs(1) * number / rate;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let (served, failures) = (served.clone(), Arc::clone(&failures));
                    clients.push(std::thread::spawn(move || {
                        once(address, b"ping", greeting, &served, &failures);
                    }));
                }
                for client in clients {
                    client.join().expect("client");
                }
            })
        };
        Self { stop, served, failures, clients: vec![pacer] }
    }

    /// Connections that were served so far.
    pub fn served(&self) -> usize {
        self.served.load(SeqCst)
    }

    /// Stops, and says how many were served. None may have failed.
    pub fn end(self) -> usize {
        self.stop.store(true, SeqCst);
        for client in self.clients {
            client.join().expect("client");
        }
        let failures = self.failures.lock().expect("lock");
        let served = self.served.load(SeqCst);
        assert!(
            failures.is_empty(),
            "{} of {served} failed: {:?}",
            failures.len(),
            failures.first()
        );
        served
    }
}
