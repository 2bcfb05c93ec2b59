//! Streams of bytes that may not stand still: reading and writing with time limits, which end the
//! connection.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// A writer that is blocked must take so many bytes within the time limit, not just one.
const PROGRESS: usize = 16 * 1024;

/// Lets a write that makes no progress fail. It stands below TLS, so that everything that is ever
/// written goes through it: handshakes, answers, frames of WebSockets and goodbyes.
#[derive(Debug)]
pub struct Stalling<S> {
    inner: S,
    limit: Duration,
    blocked: Option<Blocked>,
}

#[derive(Debug)]
struct Blocked {
    until: Pin<Box<Sleep>>,
    taken: usize,
}

impl<S> Stalling<S> {
    /// `inner`, which may not block for longer than `limit`.
    pub fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, blocked: None }
    }

    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        offered: usize,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => {
                let limit = self.limit;
                let blocked = self.blocked.get_or_insert_with(|| Blocked {
                    until: Box::pin(sleep_until(Instant::now() + limit)),
                    taken: 0,
                });
                ready!(blocked.until.as_mut().poll(cx));
                Poll::Ready(Err(timed_out("the client does not read what it is sent")))
            }
            Poll::Ready(Ok(count)) => {
                if let Some(blocked) = &mut self.blocked {
                    blocked.taken = blocked.taken.saturating_add(count);
                    if count == offered || blocked.taken >= PROGRESS {
                        self.blocked = None;
                    }
                }
                Poll::Ready(Ok(count))
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(cx, written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.judge(cx, written, slices.iter().map(|slice| slice.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Time limits for what a client sends between requests.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the beginning to the end of the first head.
    pub first_head: Duration,
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// Without a byte between two requests.
    pub idle: Duration,
}

/// What the client is about to do. Shared with the service, which sees whole requests only.
#[derive(Clone, Debug)]
pub struct Phase(Arc<Mutex<Waiting>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// For the first byte of the first head, until then.
    ForFirst(Instant),
    /// For the first byte of another one, until then.
    ForHead(Instant),
    /// For the end of a head, until then.
    ForItsEnd(Instant),
    /// For the server: no limit of the client's.
    No,
}

impl Phase {
    /// The handshake has just ended.
    pub fn begin(pace: Pace) -> Self {
        Self(Arc::new(Mutex::new(Waiting::ForFirst(Instant::now() + pace.first_head))))
    }

    /// A head is complete.
    pub fn request(&self) {
        self.set(Waiting::No);
    }

    /// The answer has been handed over; the next request may come.
    pub fn answered(&self, pace: Pace) {
        self.set(Waiting::ForHead(Instant::now() + pace.idle));
    }

    fn get(&self) -> Waiting {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, waiting: Waiting) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }
}

/// Lets reading fail when the client takes too long for a head. It stands above TLS, so that only
/// bytes of requests count. (Bytes that are read ahead while a request is worked on are not seen:
/// hyper's own limit for a head, which is no shorter than these together, bounds that.)
#[derive(Debug)]
pub struct Paced<S> {
    inner: S,
    pace: Pace,
    phase: Phase,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// `inner`, whose client is told by `phase` what to do.
    pub fn new(inner: S, pace: Pace, phase: Phase) -> Self {
        Self { inner, pace, phase, timer: None }
    }

    /// Fails when the time is up; wakes the task then.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (deadline, what) = match self.phase.get() {
            Waiting::No => return Poll::Pending,
            Waiting::ForFirst(at) | Waiting::ForHead(at) => (at, "the client sent no request"),
            Waiting::ForItsEnd(at) => (at, "the client did not finish the head of its request"),
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(timed_out(what)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if read.is_ready() && buffer.filled().len() > before {
            let end = Instant::now() + self.pace.head;
            match self.phase.get() {
                Waiting::ForFirst(at) => self.phase.set(Waiting::ForItsEnd(end.min(at))),
                Waiting::ForHead(_) => self.phase.set(Waiting::ForItsEnd(end)),
                Waiting::ForItsEnd(_) | Waiting::No => {}
            }
            return read;
        }
        if read.is_pending() { self.poll_deadline(cx) } else { read }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const LIMIT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_writer_that_is_blocked_fails_and_one_that_gets_on_does_not() {
        let (near, mut far) = duplex(1024);
        let mut patient = Stalling::new(near, Duration::from_secs(60));
        let long = vec![7; 3 * PROGRESS];
        let write = patient.write_all(&long);
        let read = async {
            let mut part = [0; PROGRESS];
            for _ in 0..3 {
                tokio::time::sleep(LIMIT / 10).await;
                far.read_exact(&mut part).await.expect("read");
            }
        };
        let (written, ()) = tokio::join!(write, read);
        written.expect("never blocked for long");
        assert!(patient.blocked.is_none());

        let (near, _far) = duplex(1024);
        let mut writer = Stalling::new(near, LIMIT);
        let error = writer.write_all(&long).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_reader_who_takes_a_byte_now_and_then_makes_no_progress() {
        let (near, mut far) = duplex(1024);
        let mut writer = Stalling::new(near, LIMIT);
        let long = vec![7; 3 * PROGRESS];
        let drip = async {
            loop {
                tokio::time::sleep(LIMIT / 20).await;
                let _ = far.read_u8().await;
            }
        };
        let error = tokio::select! {
            written = writer.write_all(&long) => written.expect_err("too slow"),
            () = drip => unreachable!("it drips for ever"),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
