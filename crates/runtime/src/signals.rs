//! SIGINT and SIGTERM: the first one drains, the second one stops at once.

use crate::{Shutdown, Tasks};
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals, from now on.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes over both signals of this process.
    ///
    /// # Errors
    /// The system's, when it does not hand them over.
    pub fn take() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self {
            interrupt,
            terminate,
        })
    }

    /// Waits for the next one and returns its name. Cancel-safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Gives `shutdown` as the signals come: the first drains, the second stops.
    pub fn drive(mut self, shutdown: Shutdown, tasks: &Tasks) {
        tasks.spawn("signals", async move {
            let name = self.next().await;
            tracing::info!(signal = name, "draining; a second signal stops at once");
            shutdown.drain();
            let name = self.next().await;
            tracing::warn!(signal = name, "stopping at once");
            shutdown.stop();
        });
    }
}
