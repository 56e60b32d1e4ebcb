-- How far each partition is folded. `next` is the Kafka offset to read next and the proof of ownership: whoever
-- moves it writes everything else in the same transaction. `published`: the directory has everything below it.
CREATE TABLE offsets (
    partition  integer PRIMARY KEY,
    next       bigint      NOT NULL DEFAULT 0,
    position   bigint      NOT NULL DEFAULT 0,
    published  bigint      NOT NULL DEFAULT 0,
    places     jsonb       NOT NULL DEFAULT '{}',
    signers    jsonb       NOT NULL DEFAULT '{}',
    last_time  timestamptz,
    open       boolean     NOT NULL DEFAULT true,
    halted     text,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Records that could not be believed, by place and hash.
CREATE TABLE reports (
    partition    integer     NOT NULL,
    kafka_offset bigint      NOT NULL,
    code         text        NOT NULL,
    detail       text        NOT NULL,
    digest       text        NOT NULL,
    signer       text        NOT NULL,
    time         timestamptz NOT NULL,
    PRIMARY KEY (partition, kafka_offset)
);

-- What the directory topic must hold: the latest event of each name, verbatim.
CREATE TABLE directory (
    name         text PRIMARY KEY,
    partition    integer NOT NULL,
    kafka_offset bigint  NOT NULL,
    value        bytea   NOT NULL,
    headers      jsonb   NOT NULL
);
CREATE INDEX directory_place ON directory (partition, kafka_offset);
