//! How the requests that are answered are laid out, version by version.
//!
//! From <https://kafka.apache.org/protocol#protocol_messages>.

use kafka_protocol::messages::ApiKey;

/// A field and the versions it is in.
pub(super) type Field = (i16, i16, Kind);

/// The layout of a field.
pub(super) enum Kind {
    /// This many bytes.
    Fixed(usize),
    /// A string, nullable or not.
    Text,
    /// Bytes, nullable or not.
    Blob,
    /// Values without tagged fields of their own.
    Values(&'static Self),
    /// Structures.
    Structs(&'static [Field]),
    /// One structure, or none.
    Maybe(&'static [Field]),
}

use Kind::{Blob, Fixed, Maybe, Structs, Text, Values};

/// The highest version there may be: "and later".
const ON: i16 = i16::MAX;

const BOOL: Kind = Fixed(1);
const INT8: Kind = Fixed(1);
const INT16: Kind = Fixed(2);
const INT32: Kind = Fixed(4);
const INT64: Kind = Fixed(8);
const UUID: Kind = Fixed(16);

/// First version with compact lengths and tagged fields, and the fields.
pub(super) type Layout = (i16, &'static [Field]);

const PRODUCE: Layout = (
    9,
    &[
        (3, ON, Text),
        (3, ON, INT16),
        (3, ON, INT32),
        (
            3,
            ON,
            Structs(&[
                (3, 12, Text),
                (13, ON, UUID),
                (3, ON, Structs(&[(3, ON, INT32), (3, ON, Blob)])),
            ]),
        ),
    ],
);

const FETCH: Layout = (
    12,
    &[
        (4, 14, INT32),
        (4, ON, INT32),
        (4, ON, INT32),
        (4, ON, INT32),
        (4, ON, INT8),
        (7, ON, INT32),
        (7, ON, INT32),
        (
            4,
            ON,
            Structs(&[
                (4, 12, Text),
                (13, ON, UUID),
                (
                    4,
                    ON,
                    Structs(&[
                        (4, ON, INT32),
                        (9, ON, INT32),
                        (4, ON, INT64),
                        (12, ON, INT32),
                        (5, ON, INT64),
                        (4, ON, INT32),
                    ]),
                ),
            ]),
        ),
        (
            7,
            ON,
            Structs(&[(7, 12, Text), (13, ON, UUID), (7, ON, Values(&INT32))]),
        ),
        (11, ON, Text),
    ],
);

const LIST_OFFSETS: Layout = (
    6,
    &[
        (1, ON, INT32),
        (2, ON, INT8),
        (
            1,
            ON,
            Structs(&[
                (1, ON, Text),
                (
                    1,
                    ON,
                    Structs(&[(1, ON, INT32), (4, ON, INT32), (1, ON, INT64)]),
                ),
            ]),
        ),
        (10, ON, INT32),
    ],
);

const METADATA: Layout = (
    9,
    &[
        (0, ON, Structs(&[(10, ON, UUID), (0, ON, Text)])),
        (4, ON, BOOL),
        (8, 10, BOOL),
        (8, ON, BOOL),
    ],
);

const OFFSET_COMMIT: Layout = (
    8,
    &[
        (2, ON, Text),
        (2, ON, INT32),
        (2, ON, Text),
        (7, ON, Text),
        (2, 4, INT64),
        (
            2,
            ON,
            Structs(&[
                (2, ON, Text),
                (
                    2,
                    ON,
                    Structs(&[
                        (2, ON, INT32),
                        (2, ON, INT64),
                        (6, ON, INT32),
                        (2, ON, Text),
                    ]),
                ),
            ]),
        ),
    ],
);

const OFFSET_FETCH: Layout = (
    6,
    &[
        (1, 7, Text),
        (1, 7, Structs(&[(1, ON, Text), (1, ON, Values(&INT32))])),
        (
            8,
            ON,
            Structs(&[
                (8, ON, Text),
                (9, ON, Text),
                (9, ON, INT32),
                (8, ON, Structs(&[(8, ON, Text), (8, ON, Values(&INT32))])),
            ]),
        ),
        (7, ON, BOOL),
    ],
);

const FIND_COORDINATOR: Layout = (3, &[(0, 3, Text), (1, ON, INT8), (4, ON, Values(&Text))]);

const JOIN_GROUP: Layout = (
    6,
    &[
        (0, ON, Text),
        (0, ON, INT32),
        (1, ON, INT32),
        (0, ON, Text),
        (5, ON, Text),
        (0, ON, Text),
        (0, ON, Structs(&[(0, ON, Text), (0, ON, Blob)])),
        (8, ON, Text),
    ],
);

const HEARTBEAT: Layout = (
    4,
    &[(0, ON, Text), (0, ON, INT32), (0, ON, Text), (3, ON, Text)],
);

const LEAVE_GROUP: Layout = (
    4,
    &[
        (0, ON, Text),
        (0, 2, Text),
        (
            3,
            ON,
            Structs(&[(3, ON, Text), (3, ON, Text), (5, ON, Text)]),
        ),
    ],
);

const SYNC_GROUP: Layout = (
    4,
    &[
        (0, ON, Text),
        (0, ON, INT32),
        (0, ON, Text),
        (3, ON, Text),
        (5, ON, Text),
        (5, ON, Text),
        (0, ON, Structs(&[(0, ON, Text), (0, ON, Blob)])),
    ],
);

const DESCRIBE_GROUPS: Layout = (5, &[(0, ON, Values(&Text)), (3, ON, BOOL)]);

const LIST_GROUPS: Layout = (3, &[(4, ON, Values(&Text)), (5, ON, Values(&Text))]);

const API_VERSIONS: Layout = (3, &[(3, ON, Text), (3, ON, Text)]);

const CREATE_TOPICS: Layout = (
    5,
    &[
        (
            2,
            ON,
            Structs(&[
                (2, ON, Text),
                (2, ON, INT32),
                (2, ON, INT16),
                (2, ON, Structs(&[(2, ON, INT32), (2, ON, Values(&INT32))])),
                (2, ON, Structs(&[(2, ON, Text), (2, ON, Text)])),
            ]),
        ),
        (2, ON, INT32),
        (2, ON, BOOL),
    ],
);

const DELETE_TOPICS: Layout = (
    4,
    &[
        (6, ON, Structs(&[(6, ON, Text), (6, ON, UUID)])),
        (1, 5, Values(&Text)),
        (1, ON, INT32),
    ],
);

const DELETE_RECORDS: Layout = (
    2,
    &[
        (
            0,
            ON,
            Structs(&[
                (0, ON, Text),
                (0, ON, Structs(&[(0, ON, INT32), (0, ON, INT64)])),
            ]),
        ),
        (0, ON, INT32),
    ],
);

const INIT_PRODUCER_ID: Layout = (
    2,
    &[
        (0, ON, Text),
        (0, ON, INT32),
        (3, ON, INT64),
        (3, ON, INT16),
    ],
);

const DESCRIBE_CONFIGS: Layout = (
    4,
    &[
        (
            1,
            ON,
            Structs(&[(1, ON, INT8), (1, ON, Text), (1, ON, Values(&Text))]),
        ),
        (1, ON, BOOL),
        (3, ON, BOOL),
    ],
);

const DELETE_GROUPS: Layout = (2, &[(0, ON, Values(&Text))]);

const DESCRIBE_CLUSTER: Layout = (0, &[(0, ON, BOOL), (1, ON, INT8), (2, ON, BOOL)]);

const CONSUMER_GROUP_HEARTBEAT: Layout = (
    0,
    &[
        (0, ON, Text),
        (0, ON, Text),
        (0, ON, INT32),
        (0, ON, Text),
        (0, ON, Text),
        (0, ON, INT32),
        (0, ON, Values(&Text)),
        (1, ON, Text),
        (0, ON, Text),
        (0, ON, Structs(&[(0, ON, UUID), (0, ON, Values(&INT32))])),
    ],
);

const CONSUMER_GROUP_DESCRIBE: Layout = (0, &[(0, ON, Values(&Text)), (0, ON, BOOL)]);

const DESCRIBE_TOPIC_PARTITIONS: Layout = (
    0,
    &[
        (0, ON, Structs(&[(0, ON, Text)])),
        (0, ON, INT32),
        (0, ON, Maybe(&[(0, ON, Text), (0, ON, INT32)])),
    ],
);

/// The layout of a request; `None` where it is not one that is answered.
pub(super) fn of(api: ApiKey) -> Option<Layout> {
    Some(match api {
        ApiKey::Produce => PRODUCE,
        ApiKey::Fetch => FETCH,
        ApiKey::ListOffsets => LIST_OFFSETS,
        ApiKey::Metadata => METADATA,
        ApiKey::OffsetCommit => OFFSET_COMMIT,
        ApiKey::OffsetFetch => OFFSET_FETCH,
        ApiKey::FindCoordinator => FIND_COORDINATOR,
        ApiKey::JoinGroup => JOIN_GROUP,
        ApiKey::Heartbeat => HEARTBEAT,
        ApiKey::LeaveGroup => LEAVE_GROUP,
        ApiKey::SyncGroup => SYNC_GROUP,
        ApiKey::DescribeGroups => DESCRIBE_GROUPS,
        ApiKey::ListGroups => LIST_GROUPS,
        ApiKey::ApiVersions => API_VERSIONS,
        ApiKey::CreateTopics => CREATE_TOPICS,
        ApiKey::DeleteTopics => DELETE_TOPICS,
        ApiKey::DeleteRecords => DELETE_RECORDS,
        ApiKey::InitProducerId => INIT_PRODUCER_ID,
        ApiKey::DescribeConfigs => DESCRIBE_CONFIGS,
        ApiKey::DeleteGroups => DELETE_GROUPS,
        ApiKey::DescribeCluster => DESCRIBE_CLUSTER,
        ApiKey::ConsumerGroupHeartbeat => CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => CONSUMER_GROUP_DESCRIBE,
        ApiKey::DescribeTopicPartitions => DESCRIBE_TOPIC_PARTITIONS,
        _ => return None,
    })
}
