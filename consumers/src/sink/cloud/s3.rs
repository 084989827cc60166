//! `s3://bucket/prefix`: Amazon S3, and every service that speaks its protocol.
//!
//! Credentials, the first that there are: the destination's own key; a profile that the destination
//! names; `AWS_ACCESS_KEY_ID`; a web identity (EKS); `AWS_PROFILE`, or the profile `default`; the
//! container's (ECS, EKS Pod Identity); the instance's (EC2).

use super::profile::Profile;
use super::settings::{Encryption, S3Settings};
use crate::settings::DestinationSettings;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use std::env;

/// Sources in the environment that go before a profile which nobody named in the settings.
const BEFORE_PROFILES: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"];

/// The store of `settings`' `bucket`. Nothing is asked.
///
/// # Errors
/// A sentence: the setting, and what would do.
pub(super) fn store(settings: &DestinationSettings, bucket: &str) -> Result<AmazonS3, String> {
    let s3 = &settings.s3;
    let profile = profile_of(s3)?;
    let mut builder = credentials(s3, profile.as_ref());
    let region = s3.region.clone();
    let region = region.or_else(|| environment("AWS_REGION"));
    let region = region.or_else(|| environment("AWS_DEFAULT_REGION"));
    if let Some(region) = region.or_else(|| profile.and_then(|profile| profile.region)) {
        builder = builder.with_region(region);
    }
    let mut plain = false;
    let path_style = s3.path_style.unwrap_or(true);
    if let Some(endpoint) = endpoint(s3) {
        plain = super::may_be_plain(&endpoint, settings.allow_private)?;
        builder = builder.with_config(
            AmazonS3ConfigKey::S3Endpoint,
            address(&endpoint, bucket, path_style),
        );
    }
    let options = super::options(plain);
    encrypted(builder, s3)?
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(!path_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // In one of many, a right that is missing would be no answer of its own.
        .with_disable_bulk_delete(true)
        .with_client_options(options)
        .with_retry(super::no_retries())
        .with_http_connector(super::connector(settings))
        .build()
        .map_err(|error| error.to_string())
}

/// The service's URL, where it is not Amazon's.
pub(super) fn endpoint(s3: &S3Settings) -> Option<String> {
    let endpoint = s3.endpoint.clone();
    let endpoint = endpoint.or_else(|| environment("AWS_ENDPOINT_URL_S3"));
    endpoint.or_else(|| environment("AWS_ENDPOINT_URL"))
}

fn environment(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The address that stands in front of a name: with the bucket in the host, where that is asked for.
fn address(endpoint: &str, bucket: &str, path_style: bool) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    match endpoint.split_once("://") {
        Some((scheme, host)) if !path_style => format!("{scheme}://{bucket}.{host}"),
        _ => endpoint.to_owned(),
    }
}

fn credentials(s3: &S3Settings, profile: Option<&Profile>) -> AmazonS3Builder {
    let (key, secret, token) = match (profile, &s3.access_key_id, &s3.secret_access_key) {
        (_, Some(key), Some(secret)) => (key.clone(), secret.clone(), s3.session_token.clone()),
        (Some(profile), _, _) => (
            profile.access_key_id.clone(),
            profile.secret_access_key.clone(),
            profile.session_token.clone(),
        ),
        _ => return AmazonS3Builder::from_env(),
    };
    // Not from the environment: a session that stands there belongs to another key.
    let builder = AmazonS3Builder::new()
        .with_access_key_id(key)
        .with_secret_access_key(secret);
    match token {
        Some(token) => builder.with_token(token),
        None => builder,
    }
}

/// The profile that is to be used, if one is.
fn profile_of(s3: &S3Settings) -> Result<Option<Profile>, String> {
    if s3.access_key_id.is_some() {
        return Ok(None);
    }
    if let Some(name) = &s3.profile {
        let profile = Profile::read(name)?;
        return profile.map(Some).ok_or_else(|| Profile::missing(name));
    }
    if BEFORE_PROFILES
        .iter()
        .any(|name| env::var_os(name).is_some())
    {
        return Ok(None);
    }
    match env::var("AWS_PROFILE") {
        Ok(name) => Profile::read(&name)?
            .map(Some)
            .ok_or_else(|| Profile::missing(&name)),
        Err(_) => Profile::read("default"),
    }
}

fn encrypted(builder: AmazonS3Builder, s3: &S3Settings) -> Result<AmazonS3Builder, String> {
    let key = |name: &str| {
        name.parse()
            .map_err(|error: object_store::Error| error.to_string())
    };
    let kind = match s3.encryption {
        None => return Ok(builder),
        Some(Encryption::Aes256) => "AES256",
        Some(Encryption::Kms) => "aws:kms",
        Some(Encryption::KmsTwice) => "aws:kms:dsse",
    };
    let builder = builder.with_config(key("aws_server_side_encryption")?, kind);
    Ok(match &s3.kms_key {
        Some(id) => builder.with_config(key("aws_sse_kms_key_id")?, id),
        None => builder,
    })
}
