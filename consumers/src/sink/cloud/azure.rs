//! `az://container/prefix`: Azure Blob storage, and Azurite.
//!
//! Credentials, the first that there are: the destination's own (connection string, key, shared
//! access signature); `AZURE_STORAGE_CONNECTION_STRING`; what else the environment has (a key, a
//! signature, a workload identity, a client secret); the managed identity of the machine.

use super::settings::AzureSettings;
use crate::settings::DestinationSettings;
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use std::env;

/// The public account of every emulator.
const EMULATOR: &str = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=\
    Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\
    BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;";

/// What a connection string says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Connection {
    account: Option<String>,
    key: Option<String>,
    sas: Option<String>,
    endpoint: Option<String>,
}

/// The store of `settings`' `container`. Nothing is asked.
///
/// # Errors
/// A sentence: the setting, and what would do.
pub(super) fn store(
    settings: &DestinationSettings,
    container: &str,
) -> Result<MicrosoftAzure, String> {
    let azure = &settings.azure;
    let connection = connection(azure)?;
    let account = azure.account.clone().or(connection.account);
    let account = account.or_else(|| environment("AZURE_STORAGE_ACCOUNT_NAME"));
    let account = account.ok_or(
        "the storage account is not known: set azure.account, AZURE_STORAGE_ACCOUNT_NAME or \
         AZURE_STORAGE_CONNECTION_STRING",
    )?;
    let endpoint = of_the_service(azure, connection.endpoint);
    let key = azure.account_key.clone().or(connection.key);
    let sas = azure.sas.clone().or(connection.sas);
    let mut builder = match (key, sas) {
        // Not from the environment: what stands there belongs to another account.
        (Some(key), _) => MicrosoftAzureBuilder::new().with_access_key(key),
        (None, Some(sas)) => MicrosoftAzureBuilder::new().with_config(AzureConfigKey::SasKey, sas),
        (None, None) => MicrosoftAzureBuilder::from_env(),
    };
    let mut plain = false;
    if let Some(endpoint) = endpoint {
        plain = super::may_be_plain(&endpoint, settings.allow_private)?;
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    builder
        .with_account(account)
        .with_container_name(container)
        .with_client_options(super::options(plain))
        .with_retry(super::no_retries())
        .with_http_connector(super::connector(settings))
        .build()
        .map_err(|error| error.to_string())
}

/// The service's URL, where it does not follow from the account's name.
pub(super) fn endpoint(azure: &AzureSettings) -> Option<String> {
    let connection = connection(azure).unwrap_or_default();
    of_the_service(azure, connection.endpoint)
}

fn of_the_service(azure: &AzureSettings, connection: Option<String>) -> Option<String> {
    let endpoint = azure.endpoint.clone().or(connection);
    // What is this destination's own is not handed to whoever the environment names.
    let own = azure.account.is_some() || azure.account_key.is_some() || azure.sas.is_some();
    endpoint.or_else(|| environment("AZURE_STORAGE_ENDPOINT").filter(|_| !own))
}

fn environment(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The connection string that is to be used; nothing, where another way in is set.
fn connection(azure: &AzureSettings) -> Result<Connection, String> {
    if let Some(text) = &azure.connection_string {
        return Connection::parse(text).map_err(|why| format!("azure.connection_string: {why}"));
    }
    if azure.account_key.is_some() || azure.sas.is_some() {
        return Ok(Connection::default());
    }
    let Some(text) = environment("AZURE_STORAGE_CONNECTION_STRING") else {
        return Ok(Connection::default());
    };
    let found = Connection::parse(&text);
    let found = found.map_err(|why| format!("AZURE_STORAGE_CONNECTION_STRING: {why}"))?;
    // One of another account leads to another place, with other keys.
    let other = azure.account.is_some() && azure.account != found.account;
    Ok(if other { Connection::default() } else { found })
}

// === impl Connection ===

impl Connection {
    /// Reads `NAME=VALUE;…`, as the portal shows it. No message repeats a value.
    fn parse(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        let (mut scheme, mut suffix) = ("https".to_owned(), "core.windows.net".to_owned());
        for pair in text
            .split(';')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            let Some((name, value)) = pair.split_once('=') else {
                return Err("it must be NAME=VALUE pairs with ; between them".to_owned());
            };
            let value = value.to_owned();
            match name {
                "UseDevelopmentStorage" if value == "true" => return Self::parse(EMULATOR),
                "AccountName" => found.account = Some(value),
                "AccountKey" => found.key = Some(value),
                "SharedAccessSignature" => found.sas = Some(value),
                "BlobEndpoint" => found.endpoint = Some(value),
                "DefaultEndpointsProtocol" => scheme = value,
                "EndpointSuffix" => suffix = value,
                // Of queues, tables and files.
                _ => {}
            }
        }
        let Some(account) = &found.account else {
            // A signature's string names only the endpoint: the account is its first label.
            let host = found
                .endpoint
                .as_deref()
                .and_then(|it| it.split_once("://"));
            let first = host.and_then(|(_, host)| host.split('.').next());
            found.account = first.map(str::to_owned);
            return match &found.account {
                Some(_) => Ok(found),
                None => Err("it names no AccountName".to_owned()),
            };
        };
        if found.endpoint.is_none() {
            found.endpoint = Some(format!("{scheme}://{account}.blob.{suffix}"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_are_read_as_the_portal_and_azurite_write_them() {
        let portal = "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=a2V5PT0=;\
                      EndpointSuffix=core.chinacloudapi.cn";
        let read = Connection::parse(portal).unwrap();
        assert_eq!(read.account.as_deref(), Some("acme"));
        assert_eq!(read.key.as_deref(), Some("a2V5PT0="), "a value may hold =");
        let endpoint = "https://acme.blob.core.chinacloudapi.cn";
        assert_eq!(read.endpoint.as_deref(), Some(endpoint));
        let emulator = Connection::parse("UseDevelopmentStorage=true").unwrap();
        assert_eq!(emulator.account.as_deref(), Some("devstoreaccount1"));
        let azurite = "http://127.0.0.1:10000/devstoreaccount1";
        assert_eq!(emulator.endpoint.as_deref(), Some(azurite));
        let signed = "BlobEndpoint=https://acme.blob.core.windows.net/;\
                      SharedAccessSignature=sv=2024&sig=a%3D";
        let read = Connection::parse(signed).unwrap();
        assert_eq!(read.account.as_deref(), Some("acme"));
        assert_eq!(read.sas.as_deref(), Some("sv=2024&sig=a%3D"));
        for wrong in ["hush", "AccountKey=hush"] {
            let why = Connection::parse(wrong).unwrap_err();
            assert!(!why.contains("hush"), "{why}");
        }
    }
}
