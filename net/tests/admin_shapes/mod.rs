//! What the answers to administrators' requests look like on the wire.

use spate_net::kafka::shape::{Kind, Part, Shape};

pub const DESCRIBE_TOPIC_PARTITIONS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::NullableText(0)),
        Part::always(Kind::Fixed(16)),
        Part::always(Kind::Bool),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(14)),
            Part::always(Kind::Values(&Kind::Fixed(4))),
            Part::always(Kind::Values(&Kind::Fixed(4))),
            Part::always(Kind::NullableValues(&Kind::Fixed(4))),
            Part::always(Kind::NullableValues(&Kind::Fixed(4))),
            Part::always(Kind::Values(&Kind::Fixed(4))),
        ])),
        Part::always(Kind::Fixed(4)),
    ])),
    Part::always(Kind::NullableStruct(&[
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(4)),
    ])),
];
pub const DESCRIBE_PRODUCERS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(6)),
            Part::always(Kind::NullableText(0)),
            Part::always(Kind::List(&[Part::always(Kind::Fixed(36))])),
        ])),
    ])),
];
pub const ELECT_LEADERS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::since(1, Kind::Fixed(2)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(6)),
            Part::always(Kind::NullableText(0)),
        ])),
    ])),
];
pub const ALTER_PARTITION_REASSIGNMENTS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::since(1, Kind::Bool),
    Part::always(Kind::Fixed(2)),
    Part::always(Kind::NullableText(0)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(6)),
            Part::always(Kind::NullableText(0)),
        ])),
    ])),
];
pub const LIST_PARTITION_REASSIGNMENTS: Shape = &[
    Part::always(Kind::Fixed(6)),
    Part::always(Kind::NullableText(0)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(4)),
            Part::always(Kind::Values(&Kind::Fixed(4))),
            Part::always(Kind::Values(&Kind::Fixed(4))),
            Part::always(Kind::Values(&Kind::Fixed(4))),
        ])),
    ])),
];
pub const ALTER_REPLICA_LOG_DIRS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[Part::always(Kind::Fixed(6))])),
    ])),
];
pub const DESCRIBE_QUORUM: Shape = &[
    Part::always(Kind::Fixed(2)),
    Part::since(2, Kind::NullableText(2)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(6)),
            Part::since(2, Kind::NullableText(2)),
            Part::always(Kind::Fixed(16)),
            Part::always(Kind::List(&[
                Part::always(Kind::Fixed(4)),
                Part::since(2, Kind::Fixed(16)),
                Part::always(Kind::Fixed(8)),
                Part::since(1, Kind::Fixed(16)),
            ])),
            Part::always(Kind::List(&[
                Part::always(Kind::Fixed(4)),
                Part::since(2, Kind::Fixed(16)),
                Part::always(Kind::Fixed(8)),
                Part::since(1, Kind::Fixed(16)),
            ])),
        ])),
    ])),
    Part::since(
        2,
        Kind::List(&[
            Part::since(2, Kind::Fixed(4)),
            Part::since(
                2,
                Kind::List(&[
                    Part::since(2, Kind::Text),
                    Part::since(2, Kind::Text),
                    Part::since(2, Kind::Fixed(2)),
                ]),
            ),
        ]),
    ),
];
pub const UNREGISTER_BROKER: Shape = &[
    Part::always(Kind::Fixed(6)),
    Part::always(Kind::NullableText(0)),
];
pub const UPDATE_FEATURES: Shape = &[
    Part::always(Kind::Fixed(6)),
    Part::always(Kind::NullableText(0)),
    Part::within(
        0,
        1,
        Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::Fixed(2)),
            Part::always(Kind::NullableText(0)),
        ]),
    ),
];
pub const DESCRIBE_CLIENT_QUOTAS: Shape = &[
    Part::always(Kind::Fixed(6)),
    Part::always(Kind::NullableText(0)),
    Part::always(Kind::NullableList(&[
        Part::always(Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::NullableText(0)),
        ])),
        Part::always(Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::Fixed(8)),
        ])),
    ])),
];
pub const DESCRIBE_USER_SCRAM_CREDENTIALS: Shape = &[
    Part::always(Kind::Fixed(6)),
    Part::always(Kind::NullableText(0)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::NullableText(0)),
        Part::always(Kind::List(&[Part::always(Kind::Fixed(5))])),
    ])),
];
pub const DESCRIBE_ACLS: Shape = &[
    Part::always(Kind::Fixed(6)),
    Part::always(Kind::NullableText(0)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(1)),
        Part::always(Kind::Text),
        Part::since(1, Kind::Fixed(1)),
        Part::always(Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::Text),
            Part::always(Kind::Fixed(2)),
        ])),
    ])),
];
pub const CREATE_ACLS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::NullableText(0)),
    ])),
];
pub const DELETE_ACLS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::NullableText(0)),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(2)),
            Part::always(Kind::NullableText(0)),
            Part::always(Kind::Fixed(1)),
            Part::always(Kind::Text),
            Part::since(1, Kind::Fixed(1)),
            Part::always(Kind::Text),
            Part::always(Kind::Text),
            Part::always(Kind::Fixed(2)),
        ])),
    ])),
];
pub const DESCRIBE_TRANSACTIONS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::Text),
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(22)),
        Part::always(Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::Values(&Kind::Fixed(4))),
        ])),
    ])),
];
pub const LIST_TRANSACTIONS: Shape = &[
    Part::always(Kind::Fixed(6)),
    Part::always(Kind::Values(&Kind::Text)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(8)),
        Part::always(Kind::Text),
    ])),
];
