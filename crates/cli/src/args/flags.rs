//! Flags that are settings: each names the one that it overrides.

use super::{
    ConsumerArgs, DlqWhich, DoctorArgs, EnsureArgs, GatewayArgs, LagArgs, ScenariosArgs, UpArgs,
    VerifyArgs,
};
use cloudsync_runtime::settings::FlagValue;

/// Collects flags that override settings.
#[derive(Debug, Default)]
struct Flags(Vec<FlagValue>);

impl Flags {
    fn with(mut self, flag: &'static str, key: &'static str, value: Option<&String>) -> Self {
        self.0.extend(value.map(|value| FlagValue {
            flag,
            key,
            value: value.clone(),
        }));
        self
    }

    fn with_switch(self, flag: &'static str, key: &'static str, on: bool) -> Self {
        let value = on.then(|| "true".to_owned());
        self.with(flag, key, value.as_ref())
    }
}

impl UpArgs {
    /// The settings among these flags.
    #[must_use]
    pub fn flags(&self) -> Vec<FlagValue> {
        Flags::default()
            .with("--listen", "gateway.listen", self.listen.as_ref())
            .with("--admin-listen", "admin.listen", self.admin_listen.as_ref())
            .with("--log-listen", "log.listen", self.log_listen.as_ref())
            .with_switch("--insecure", "gateway.insecure", self.insecure)
            .0
    }
}

impl GatewayArgs {
    /// The settings among these flags.
    #[must_use]
    pub fn flags(&self) -> Vec<FlagValue> {
        Flags::default()
            .with("--listen", "gateway.listen", self.listen.as_ref())
            .with("--admin-listen", "admin.listen", self.admin_listen.as_ref())
            .with("--brokers", "kafka.brokers", self.brokers.as_ref())
            .with_switch("--insecure", "gateway.insecure", self.insecure)
            .0
    }
}

impl ConsumerArgs {
    /// The settings among these flags.
    #[must_use]
    pub fn flags(&self) -> Vec<FlagValue> {
        Flags::default()
            .with("--admin-listen", "admin.listen", self.admin_listen.as_ref())
            .with("--brokers", "kafka.brokers", self.brokers.as_ref())
            .0
    }
}

impl DoctorArgs {
    /// The settings among these flags.
    #[must_use]
    pub fn flags(&self) -> Vec<FlagValue> {
        Flags::default()
            .with("--listen", "gateway.listen", self.listen.as_ref())
            .with("--admin-listen", "admin.listen", self.admin_listen.as_ref())
            .with("--log-listen", "log.listen", self.log_listen.as_ref())
            .with("--brokers", "kafka.brokers", self.brokers.as_ref())
            .0
    }
}

impl DlqWhich {
    /// The settings among these flags.
    #[must_use]
    pub fn flags(&self) -> Vec<FlagValue> {
        Flags::default()
            .with("--brokers", "kafka.brokers", self.brokers.as_ref())
            .0
    }
}

impl LagArgs {
    /// The settings among these flags.
    #[must_use]
    pub fn flags(&self) -> Vec<FlagValue> {
        Flags::default()
            .with("--brokers", "kafka.brokers", self.brokers.as_ref())
            .0
    }
}

impl ScenariosArgs {
    /// The settings among these flags.
    #[must_use]
    pub fn flags(&self) -> Vec<FlagValue> {
        Flags::default()
            .with("--brokers", "kafka.brokers", self.brokers.as_ref())
            .0
    }
}

impl VerifyArgs {
    /// The settings among these flags.
    #[must_use]
    pub fn flags(&self) -> Vec<FlagValue> {
        Flags::default()
            .with("--brokers", "kafka.brokers", self.brokers.as_ref())
            .0
    }
}

impl EnsureArgs {
    /// The settings among these flags.
    #[must_use]
    pub fn flags(&self) -> Vec<FlagValue> {
        let replication = self.replication.map(|copies| copies.to_string());
        Flags::default()
            .with("--brokers", "kafka.brokers", self.brokers.as_ref())
            .with("--replication", "kafka.replication", replication.as_ref())
            .0
    }
}
