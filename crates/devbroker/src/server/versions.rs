//! What is answered: the APIs and their versions, and how clients are told.
//!
//! ApiVersions: <https://kafka.apache.org/protocol#The_Messages_ApiVersions>; an unknown version of
//! it is answered as KIP-511 says.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

/// What is answered: key, lowest and highest version.
pub(super) const APIS: [(ApiKey, i16, i16); 24] = [
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 10),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 6),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::ConsumerGroupHeartbeat, 0, 1),
    (ApiKey::ConsumerGroupDescribe, 0, 1),
    (ApiKey::DescribeTopicPartitions, 0, 0),
];

/// From version 3 on clients say what they are (KIP-511:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-511%3A+Collect+and+Expose+Client%27s+Name+and+Version+in+the+Brokers>).
pub(super) fn about_versions(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let is_legal = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric();
        let ends = [name.bytes().next(), name.bytes().next_back()];
        let inner = |byte: u8| plain(byte) || b"-.".contains(&byte);
        ends.into_iter().all(|end| end.is_some_and(plain)) && name.bytes().all(inner)
    };
    let named =
        is_legal(&request.client_software_name) && is_legal(&request.client_software_version);
    if version >= 3 && !named {
        let invalid = ResponseError::InvalidRequest.code();
        return ApiVersionsResponse::default().with_error_code(invalid);
    }
    api_versions(version)
}

pub(super) fn api_versions(version: i16) -> ApiVersionsResponse {
    let entry = |(key, low, high): &(ApiKey, i16, i16)| {
        // Kafka 4 says so, too, and takes 3 and later only: librdkafka before 2.11 compresses
        // nothing unless it sees version 0 (<https://issues.apache.org/jira/browse/KAFKA-18659>).
        let lowest = if *key == ApiKey::Produce { 0 } else { *low };
        ApiVersion::default()
            .with_api_key(*key as i16)
            .with_min_version(lowest)
            .with_max_version(*high)
    };
    let response = ApiVersionsResponse::default().with_api_keys(APIS.iter().map(entry).collect());
    if version >= 3 {
        response.with_finalized_features_epoch(-1)
    } else {
        response
    }
}
