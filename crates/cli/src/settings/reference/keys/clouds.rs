//! The keys of destinations in a cloud's object storage.

use super::super::{Key, Kind};
use super::key;

/// The keys, in the order of the page.
pub(in super::super) const KEYS: &[Key] = &[
    key(
        "destinations.*.s3.endpoint",
        Kind::Text("https://s3.example.com"),
        "The service's URL, without a bucket. Without it: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else \
         Amazon's for the region. (All keys of this table are for s3:// alone.)",
    ),
    key(
        "destinations.*.s3.region",
        Kind::Text("eu-central-1"),
        "The bucket's region. Without it: AWS_REGION, AWS_DEFAULT_REGION, the profile's, else us-east-1.",
    ),
    key(
        "destinations.*.s3.path_style",
        Kind::Flag,
        "Whether the bucket stands in the path, not in front of the host's name. Without it: true.",
    ),
    key(
        "destinations.*.s3.encryption",
        Kind::Choice(&["AES256", "aws:kms", "aws:kms:dsse"]),
        "How the service encrypts what is written. Without it: as the bucket says.",
    ),
    key(
        "destinations.*.s3.kms_key",
        Kind::Text("arn:aws:kms:eu-central-1:111122223333:key/7f"),
        "The key for aws:kms and aws:kms:dsse. Without it: the account's own.",
    ),
    key(
        "destinations.*.s3.storage_class",
        Kind::Text("STANDARD_IA"),
        "Storage class of what is written. Without it: the service's.",
    ),
    key(
        "destinations.*.s3.profile",
        Kind::Text("sync"),
        "The profile of ~/.aws/credentials and ~/.aws/config whose keys are used. Without it: the \
         destination's own key, AWS_ACCESS_KEY_ID, a web identity, AWS_PROFILE, the profile default, \
         the container's role, the instance's.",
    ),
    key(
        "destinations.*.s3.access_key_id",
        Kind::Text("AKIAIOSFODNN7EXAMPLE"),
        "A key of this destination alone.",
    ),
    key(
        "destinations.*.s3.secret_access_key",
        Kind::Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        "The secret of that key.",
    ),
    key(
        "destinations.*.s3.session_token",
        Kind::Secret("IQoJb3JpZ2luX2VjE…"),
        "The session of that key, if it is a temporary one.",
    ),
    key(
        "destinations.*.azure.account",
        Kind::Text("acme"),
        "The storage account. Without it: the connection string's, or AZURE_STORAGE_ACCOUNT_NAME. (All \
         keys of this table are for az:// alone.)",
    ),
    key(
        "destinations.*.azure.endpoint",
        Kind::Text("https://acme.blob.core.windows.net"),
        "The service's URL. Without it: the connection string's, AZURE_STORAGE_ENDPOINT, else Azure's \
         for the account.",
    ),
    key(
        "destinations.*.azure.access_tier",
        Kind::Text("Cool"),
        "Access tier of what is written. Without it: the account's.",
    ),
    key(
        "destinations.*.azure.connection_string",
        Kind::Secret("AccountName=acme;AccountKey=a2V5"),
        "Account, endpoint and a way in, as the portal shows them. Without it, and without account_key \
         and sas: AZURE_STORAGE_CONNECTION_STRING, a key, a signature, a workload identity or a client \
         secret of the environment, the managed identity of the machine.",
    ),
    key(
        "destinations.*.azure.account_key",
        Kind::Secret("a2V5"),
        "The account's key.",
    ),
    key(
        "destinations.*.azure.sas",
        Kind::Secret("sv=2024-11-04&ss=b&sig=abc%3D"),
        "A shared access signature with the rights to read, create, list and delete.",
    ),
];
