//! Where records end, and what is known of those that came before: destinations and dedupe.

use super::Finding;
use crate::settings::Settings;
use crate::settings::sizes;
use cloudsync_consumers::DestinationSettings;
use cloudsync_consumers::sink::{self, Idempotence, Looked};
use cloudsync_runtime::{chain, redact};

pub(super) async fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.destinations.is_empty() {
        let text =
            "none is set, so nothing is delivered; add [destinations.NAME] with url and group";
        findings.push(Finding::warn("destinations", text));
    }
    let all_unset = settings.destinations.values().all(|it| it.url.is_empty());
    for (name, destination) in &settings.destinations {
        findings.push(examine_destination(name, destination, all_unset).await);
    }
    findings.push(dedupe(settings).await);
    findings
}

async fn examine_destination(
    name: &str,
    destination: &DestinationSettings,
    all_unset: bool,
) -> Finding {
    let check = format!("destination {name}");
    if destination.url.is_empty() {
        let of_up = if all_unset {
            "; what `cloudsync up` runs is looked at with --up"
        } else {
            ""
        };
        return Finding::fail(
            check,
            format_args!(
                "destinations.{name}.url is not set; there are: {}{of_up}",
                sink::SCHEMES
            ),
        );
    }
    let url = redact::url(&destination.url);
    match sink::look(destination, name).await {
        Ok(Looked::Proven) => Finding::ok(
            check,
            format_args!(
                "{url} refuses a second create of the same name, and may be read, listed and cleaned up"
            ),
        ),
        Ok(Looked::NotThere(_)) => Finding::ok(
            check,
            format_args!("{url} is not there yet; it is made at start"),
        ),
        Ok(Looked::Reached { idempotence }) => {
            let told = match idempotence {
                Idempotence::Plain => "plain: a record that is posted twice has two effects there",
                Idempotence::Keyed => "keyed: trusted to honour Idempotency-Key",
                Idempotence::Conditional => "it refuses what it has",
            };
            Finding::ok(
                check,
                format_args!("{url} takes connections; nothing was sent ({told})"),
            )
        }
        Ok(Looked::Forgets) => Finding::warn(check, format_args!("{url} keeps nothing")),
        Err(error) => Finding::fail(check, chain(&error)),
    }
}

async fn dedupe(settings: &Settings) -> Finding {
    if let Err(error) = cloudsync_dedupe::settings::check(&settings.dedupe) {
        return Finding::fail("dedupe", error);
    }
    if cloudsync_dedupe::settings::is_shared(&settings.dedupe.url) {
        // Whichever destination asks, it is one server and one namespace.
        let store = match cloudsync_dedupe::settings::look_at(&settings.dedupe, "doctor") {
            Ok(store) => store,
            Err(error) => return Finding::fail("dedupe", error),
        };
        if let Err(error) = store.ready().await {
            return Finding::fail("dedupe", error);
        }
    }
    match sizes::short_window(settings) {
        Some(why) => Finding::note("dedupe", why),
        None => Finding::ok("dedupe", redact::url(&settings.dedupe.url)),
    }
}
