//! Examples at the end of each `--help`; a test parses every one of them.

/// Of `cloudsync`.
pub const TOP: &str = "\
Examples:
  cloudsync demo                     # real records through all of it, and a ledger at the end
  cloudsync up                       # everything on this machine, until Ctrl-C
  cloudsync send events.ndjson.gz --id-pointer /id
  cloudsync send --help              # each command has examples of its own

Exit codes: 0 done; 1 failed, or something was refused; 2 wrong usage or settings; 130 interrupted.
The page of all settings: cloudsync config schema --toml";

/// Of `cloudsync up`.
pub const UP: &str = "\
Examples:
  cloudsync up
  cloudsync up --data-dir /srv/cloudsync --listen 127.0.0.1:50052
  cloudsync up --config cloudsync.toml --quiet";

/// Of `cloudsync demo`.
pub const DEMO: &str = "\
Examples:
  cloudsync demo
  cloudsync demo --records 200000 --resend 0.2
  cloudsync demo events.csv.gz --id-pointer /id --key-pointer /device
  cloudsync demo --destination aws=s3://bucket/try --destination azure=az://container/try
  CLOUDSYNC_DESTINATIONS__AWS__URL=http://127.0.0.1:8080/in cloudsync demo --faults aws=2%
  cloudsync demo --data-dir /tmp/proof
  cloudsync demo --data-dir /tmp/proof --recount --output json";

/// Of `cloudsync gateway`.
pub const GATEWAY: &str = "\
Examples:
  cloudsync gateway                  # with Kafka, or the log of `cloudsync up`, on this machine
  cloudsync gateway --brokers kafka-1:9092,kafka-2:9092
  cloudsync gateway --config /etc/cloudsync.toml --listen 0.0.0.0:50051 --insecure
  CLOUDSYNC_KAFKA__BROKERS=kafka-1:9092 cloudsync gateway --log warn";

/// Of `cloudsync consumer`.
pub const CONSUMER: &str = "\
Examples:
  CLOUDSYNC_DESTINATIONS__AWS__URL=file:///tmp/aws cloudsync consumer --destination aws
  cloudsync consumer --destination aws --config /etc/cloudsync.toml
  CLOUDSYNC_DESTINATIONS__AWS__URL_FILE=/run/secrets/aws cloudsync consumer --destination aws";

/// Of `cloudsync send`.
pub const SEND: &str = "\
Examples:
  echo '{\"id\":\"1\",\"text\":\"hello\"}' | cloudsync send - --id-pointer /id
  cloudsync send events.ndjson --id-pointer /id --key-pointer /device
  cloudsync send events.csv.gz --id-pointer /id --rejects refused.ndjson
  cloudsync send events.ndjson --id-pointer /id --from-line 120001
  zcat *.log.gz | cloudsync send - --format lines --quiet
  cloudsync send events.json.zst --endpoint http://gateway:50051 --output json";

/// Of `cloudsync topics ensure`.
pub const TOPICS: &str = "\
Examples:
  cloudsync topics ensure --replication 1      # one broker, on this machine
  cloudsync topics ensure --brokers kafka-1:9092
  cloudsync topics ensure --config /etc/cloudsync.toml --replication 3";

/// Of `cloudsync lag`.
pub const LAG: &str = "\
Examples:
  cloudsync lag
  cloudsync lag --partitions --group aws-sync-group
  cloudsync lag --watch 5 --brokers kafka-1:9092
  cloudsync lag --output json";

/// Of `cloudsync scenarios`.
pub const SCENARIOS: &str = "\
Examples:
  cloudsync scenarios
  cloudsync scenarios --only 3 --output json
  cloudsync scenarios --target http://127.0.0.1:50051 --up     # beside `cloudsync up`
  cloudsync scenarios --target http://gateway:50051 --config /etc/cloudsync.toml

Exit codes: 0 as expected; 1 a difference was found; 2 they could not be run or counted.";

/// Of `cloudsync verify`.
pub const VERIFY: &str = "\
Examples:
  cloudsync verify --data-dir /tmp/proof --with-topic     # a demo that was kept
  cloudsync verify --config /etc/cloudsync.toml --output json
  cloudsync verify --config /etc/cloudsync.toml --since 24h
  cloudsync verify --config /etc/cloudsync.toml --state /var/tmp/verify --repair
  cloudsync verify --config /etc/cloudsync.toml --no-log  # everything, without asking Kafka

Exit codes: 0 equal (after a repair: by then); 1 a difference; 2 they could not be compared.";

/// Of `cloudsync receipt`.
pub const RECEIPT: &str = "\
A gateway remembers the last ids that it has acknowledged (gateway.receipts), and in Redis
those of dedupe.window; older ones are known by the marks of the dedupe stores, where the
gateway can look into them. docs/receipts.md says what each answer means.

Exit codes: 0 known, 1 not known, 2 the gateway could not be asked.

Examples:
  cloudsync receipt 0198f6a2-5c1e-7cc3-9a53-3f6b0c6f2a11
  cloudsync receipt order-17 --key customer-4 --watch
  cloudsync receipt order-17 --endpoint http://gateway-1:50051 --output json";

/// Of `cloudsync bench`.
pub const BENCH: &str = "\
Examples:
  cloudsync bench --seconds 60 --rounds 1
  cloudsync bench --rate 100000 --plot bench.svg
  cloudsync bench gateway --batch 256 --output json
  cloudsync bench --dedupe all       # the same load with each dedupe store
  cloudsync bench dedupe             # the dedupe stores alone";

/// Of `cloudsync bench dedupe`.
pub const BENCH_DEDUPE: &str = "\
Examples:
  cloudsync bench dedupe             # with a Redis of its own: redis-server on PATH
  cloudsync bench dedupe --stores buckets,keys --batch 128 --ids 1m,10m
  cloudsync bench dedupe --redis redis://10.0.0.7:6379/0 --output json";

/// Of `cloudsync config`.
pub const CONFIG: &str = "\
Examples:
  cloudsync config check             # the environment; a file with --config FILE
  cloudsync config print --up
  cloudsync config schema > cloudsync.schema.json
  cloudsync config schema --toml > cloudsync.toml";

/// Of `cloudsync config check`.
pub const CONFIG_CHECK: &str = "\
Examples:
  cloudsync config check
  cloudsync config check --up --config /etc/cloudsync.toml";

/// Of `cloudsync config print`.
pub const CONFIG_PRINT: &str = "\
Examples:
  cloudsync config print --up > cloudsync.toml
  cloudsync config print --config /etc/cloudsync.toml";

/// Of `cloudsync config schema`.
pub const CONFIG_SCHEMA: &str = "\
Examples:
  cloudsync config schema > cloudsync.schema.json
  cloudsync config schema --toml > cloudsync.toml";

/// Of `cloudsync dlq`.
pub const DLQ: &str = "\
Examples:
  cloudsync dlq ls --histogram
  cloudsync dlq redrive --destination aws --reason rejected --dry-run
  cloudsync dlq redrive --destination aws --rate 500 --audit redrives.ndjson

Exit codes: 0 done; 1 something failed, or is not there; 2 wrong usage; 130 interrupted.";

/// Of `cloudsync dlq ls`.
pub const DLQ_LS: &str = "\
Examples:
  cloudsync dlq ls
  cloudsync dlq ls --histogram --output json
  cloudsync dlq ls --destination aws --code 400 --newer-than 2h
  cloudsync dlq ls --id order-4711 --all";

/// Of `cloudsync dlq show`.
pub const DLQ_SHOW: &str = "\
Examples:
  cloudsync dlq show 1f0c7a52
  cloudsync dlq show --id order-4711 --output json";

/// Of `cloudsync dlq redrive`.
pub const DLQ_REDRIVE: &str = "\
Examples:
  cloudsync dlq redrive --dry-run
  cloudsync dlq redrive --destination aws --code 400 --rate 500
  cloudsync dlq redrive 1f0c7a52 --force --audit redrives.ndjson";

/// Of `cloudsync dlq drop`.
pub const DLQ_DROP: &str = "\
Examples:
  cloudsync dlq drop 1f0c7a52
  cloudsync dlq drop --reason undecodable --older-than 24h --audit drops.ndjson";

/// Of `cloudsync dedupe`.
pub const DEDUPE: &str = "\
Examples:
  cloudsync dedupe stats --config /etc/cloudsync.toml
  cloudsync dedupe show order-4711 --key customer-17
  cloudsync dedupe plan --rate 10000 --window 60min";

/// Of `cloudsync dedupe stats`.
pub const DEDUPE_STATS: &str = "\
Examples:
  CLOUDSYNC_DEDUPE__URL=redis://127.0.0.1:6379/0 cloudsync dedupe stats
  cloudsync dedupe stats --destination aws --output json";

/// Of `cloudsync dedupe show`.
pub const DEDUPE_SHOW: &str = "\
Examples:
  cloudsync dedupe show order-4711 --config /etc/cloudsync.toml
  cloudsync dedupe show order-4711 --key customer-17 --destination azure";

/// Of `cloudsync dedupe forget`.
pub const DEDUPE_FORGET: &str = "\
Examples:
  cloudsync dedupe forget order-4711 --config /etc/cloudsync.toml
  cloudsync dedupe forget order-4711 --key customer-17 --destination azure";

/// Of `cloudsync dedupe plan`.
pub const DEDUPE_PLAN: &str = "\
Examples:
  cloudsync dedupe plan --rate 10000
  cloudsync dedupe plan --rate 100000 --window 15min --output json";

/// Of `cloudsync doctor`.
pub const DOCTOR: &str = "\
Examples:
  cloudsync doctor --up              # what `cloudsync up` runs, or will
  cloudsync doctor --up --data-dir /srv/cloudsync
  cloudsync doctor --config /etc/cloudsync.toml
  cloudsync doctor --brokers kafka-1:9092 --output json";

/// Of `cloudsync completions`.
pub const COMPLETIONS: &str = "\
Examples:
  eval \"$(cloudsync completions bash)\"         # in this shell
  cloudsync completions bash > /etc/bash_completion.d/cloudsync
  cloudsync completions zsh > ~/.zfunc/_cloudsync";

#[cfg(test)]
mod tests {
    use crate::args::Cli;
    use clap::{Command, CommandFactory, Parser};

    /// The words of a line, as far as examples need a shell: no quotes, no expansion.
    fn words(line: &str) -> Vec<&str> {
        let command = line.split('|').next_back().unwrap_or_default();
        let typed = command.split(" #").next().unwrap_or_default();
        let typed = typed.split('>').next().unwrap_or_default();
        let typed = typed.trim().trim_start_matches("eval \"$(");
        let typed = typed.trim_end_matches(")\"");
        let words = typed.split_whitespace();
        words
            .skip_while(|word| word.starts_with("CLOUDSYNC_"))
            .collect()
    }

    fn check(command: &Command, path: &str, seen: &mut usize) {
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_else(|| panic!("{path} has no examples"));
        let examples = help.lines().filter(|line| line.starts_with("  "));
        let mut own = 0;
        for line in examples {
            if let Err(error) = Cli::try_parse_from(words(line)) {
                let helps = error.kind() == clap::error::ErrorKind::DisplayHelp;
                assert!(helps, "{path}: {line}: {error}");
            }
            own += 1;
        }
        assert!(own >= 2, "{path} has {own} examples");
        *seen += own;
        for command in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            if command.get_name() != "help" {
                check(command, &format!("{path} {}", command.get_name()), seen);
            }
        }
    }

    #[test]
    fn every_example_is_a_command_that_there_is() {
        let cli = Cli::command();
        let mut seen = 0;
        check(&cli, "cloudsync", &mut seen);
        assert!(seen > 25, "{seen}");
    }

    #[test]
    fn examples_fit_on_a_screen() {
        let cli = Cli::command();
        for command in cli.get_subcommands().filter(|it| !it.is_hide_set()) {
            let help = command.get_after_help().unwrap().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 100, "{line}");
            }
        }
    }
}
