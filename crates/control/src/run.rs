//! `sextant-control run`: one replica, from configuration to shutdown.

use std::sync::Arc;

use sextant_daemon::{
    clock::{Clock, SystemClock, SystemEntropy},
    readiness, shutdown,
};
use sextant_store::{ConnectOptions, Store};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, Parts},
    auth::TokenCache,
    ca::Ca,
    config::Config,
    housekeeping, http, server,
    tail::Tail,
};

/// Serves until a signal. The database may come later: until then requests are put off (503).
pub async fn run(config: Config) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let mut options = ConnectOptions::new(config.database.resolve()?);
    options.max_connections = config.database.max_connections;
    let store = Store::connect(&options)?;
    let ca = Ca::load(&config.tls.ca_certificate_file, &config.tls.ca_key_file)?;
    let app = App::new(Parts {
        store: store.clone(),
        ca,
        tail: Tail::default(),
        tokens: TokenCache::default(),
        clock: Box::new(SystemClock),
        entropy: Box::new(SystemEntropy),
        stop: stop.clone(),
    });
    let listeners = server::listeners(&config.listen.addresses).await?;
    for listener in &listeners {
        tracing::info!(address = %listener.local_addr()?, "listening");
    }
    let (tls, renewal) = server::tls(&app, config.tls.names.clone(), stop.clone())?;

    // Followers must be told before the tail stops, so it stops last.
    let tail_stop = CancellationToken::new();
    let tail = tokio::spawn({
        let (app, store, stop) = (app.clone(), store.clone(), tail_stop.clone());
        async move { app.tail.run(store, stop).await }
    });
    let chores = tokio::spawn(housekeeping::run(app.clone(), stop.clone()));
    let renewal = tokio::spawn(renewal);
    let watchdog = tokio::spawn(readiness::feed_watchdog(|| true, stop.clone()));
    readiness::ready("serving");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), started_at = %SystemClock.now(), "ready");

    server::serve(app.clone(), http::router(app), listeners, Arc::clone(&tls), stop).await;
    tail_stop.cancel();
    for task in [tail, chores, renewal, watchdog] {
        let _ = task.await;
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}
