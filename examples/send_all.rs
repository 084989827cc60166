//! Streams records to a gateway until each is acknowledged, whatever happens to the gateway:
//! `cargo run --example send_all -- http://127.0.0.1:50051 1000000`

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use cloudsync::{Client, ClientSettings, SyncRecord, client};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let gateway = arguments.next().ok_or("where is the gateway?")?;
    let count: u64 = arguments.next().ok_or("how many records?")?.parse()?;
    let records = (0..count).map(|n| SyncRecord {
        request_id: format!("reading-{n}"),
        key: format!("sensor-{}", n % 1_000),
        payload: format!(r#"{{"reading":{n}}}"#).into(),
        content_type: "application/json".into(),
        ..SyncRecord::default()
    });
    let client = Client::new(ClientSettings::to(gateway))?;
    let summary = client.send_all(client::iter(records)).await?;
    println!("{summary:#?}");
    Ok(())
}
