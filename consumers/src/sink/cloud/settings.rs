//! What is set for a destination in a cloud's object storage, beside its URL.
//!
//! In: the sections `[destinations.NAME.s3]` and `[destinations.NAME.azure]`. Out: settings, each of
//! which may be left away: then the standard sources of the cloud's own tools are asked (environment,
//! profile, the identity of the machine).

use serde::{Deserialize, Serialize};
use std::fmt;

/// How an S3 service encrypts what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Encryption {
    /// With keys of S3's own.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key of KMS.
    #[serde(rename = "aws:kms")]
    Kms,
    /// Twice, with a key of KMS.
    #[serde(rename = "aws:kms:dsse")]
    KmsTwice,
}

/// What is set for `s3://`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Settings {
    /// The service's URL, without a bucket. Default: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, else
    /// Amazon's for the region.
    pub endpoint: Option<String>,
    /// Default: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, else us-east-1.
    pub region: Option<String>,
    /// Whether the bucket is a part of the path, not of the host's name. Default: yes.
    pub path_style: Option<bool>,
    /// Default: what the bucket says.
    pub encryption: Option<Encryption>,
    /// The key of KMS. Default: the account's own.
    pub kms_key: Option<String>,
    /// Storage class of what is written. Default: STANDARD.
    pub storage_class: Option<String>,
    /// The profile of `~/.aws/credentials` and `~/.aws/config`. Default: `AWS_PROFILE`.
    pub profile: Option<String>,
    /// Key of this destination alone. Default: the standard sources.
    pub access_key_id: Option<String>,
    /// The secret of it.
    pub secret_access_key: Option<String>,
    /// The session of it, if it is a temporary one.
    pub session_token: Option<String>,
}

/// What is set for `az://`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureSettings {
    /// The storage account. Default: `AZURE_STORAGE_ACCOUNT_NAME`, or the connection string's.
    pub account: Option<String>,
    /// The service's URL. Default: `AZURE_STORAGE_ENDPOINT`, the connection string's, else Azure's
    /// for the account.
    pub endpoint: Option<String>,
    /// Access tier of what is written. Default: the account's.
    pub access_tier: Option<String>,
    /// Default: `AZURE_STORAGE_CONNECTION_STRING`.
    pub connection_string: Option<String>,
    /// Key of the account. Default: `AZURE_STORAGE_ACCOUNT_KEY`.
    pub account_key: Option<String>,
    /// A shared access signature. Default: `AZURE_STORAGE_SAS_KEY`.
    pub sas: Option<String>,
}

// === impl S3Settings ===

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl S3Settings {
    pub(super) fn errors(&self) -> Vec<(&'static str, String)> {
        let mut errors = Vec::new();
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            let why = "access_key_id and secret_access_key belong together; set both, or neither";
            errors.push(("s3.access_key_id", why.to_owned()));
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            let why = "it belongs to an access_key_id, which is not set";
            errors.push(("s3.session_token", why.to_owned()));
        }
        if self.access_key_id.is_some() && self.profile.is_some() {
            let why = "a key is set, too, and only one of them can be meant";
            errors.push(("s3.profile", why.to_owned()));
        }
        let kms = matches!(
            self.encryption,
            Some(Encryption::Kms | Encryption::KmsTwice)
        );
        if self.kms_key.is_some() && !kms {
            let why = "it needs encryption aws:kms or aws:kms:dsse";
            errors.push(("s3.kms_key", why.to_owned()));
        }
        errors
    }
}

// === impl AzureSettings ===

impl fmt::Debug for AzureSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureSettings")
            .field("account", &self.account)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl AzureSettings {
    pub(super) fn errors(&self) -> Vec<(&'static str, String)> {
        let secrets = [&self.connection_string, &self.account_key, &self.sas];
        if secrets.into_iter().flatten().count() > 1 {
            let why = "connection_string, account_key and sas are three ways in; set one of them";
            return vec![("azure.account_key", why.to_owned())];
        }
        Vec::new()
    }
}
