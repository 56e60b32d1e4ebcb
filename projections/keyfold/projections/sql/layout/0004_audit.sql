-- One row per event. `partition` and `position` are the leaf in the log; `value` holds the exact bytes that were
-- signed. Partitioned by month of `time`; months are attached when their first event comes. Its other indexes are in
-- `indexes`: a schema that is being filled has none of them until it is nearly full.
CREATE TABLE audit (
    partition         integer     NOT NULL,
    position          bigint      NOT NULL,
    kafka_offset      bigint      NOT NULL,
    event_id          text        NOT NULL,
    event_type        text        NOT NULL,
    time              timestamptz NOT NULL,
    stream            text        NOT NULL,
    outcome           text        NOT NULL,
    code              text,
    principal         text,
    verb              text,
    key_id            uuid,
    key_version       bigint,
    contexts          jsonb,
    items             bigint,
    payload_bytes     bigint,
    policies          text[],
    registry_revision bigint,
    command_id        uuid,
    command_digest    text,
    command_offset    bigint,
    value             bytea       NOT NULL,
    role              text        NOT NULL,
    signer            text        NOT NULL,
    statement_n       bigint      NOT NULL,
    statement_leaf    integer     NOT NULL,
    reason            text,
    source            text,
    dry_run           boolean     NOT NULL,
    grant_id          uuid,
    proposal_id       uuid,
    algorithm         text,
    administrative    boolean     NOT NULL,
    PRIMARY KEY (partition, position, time)
) PARTITION BY RANGE (time);
-- Times that no broker of ours can have stamped; kept apart so that a wrong clock cannot make many partitions. There is
-- no default partition: attaching a month would then have to wait for everybody who reads the audit.
CREATE TABLE audit_before PARTITION OF audit FOR VALUES FROM (MINVALUE) TO ('2020-01-01 00:00:00+00');
CREATE TABLE audit_after PARTITION OF audit FOR VALUES FROM ('2100-01-01 00:00:00+00') TO (MAXVALUE);

-- Exact use. Items are counted by key version; commands, bytes and failures of a command that used several versions
-- (or none) stand under version 0, and are therefore exact over all versions together.
CREATE TABLE usage (
    stream       text   NOT NULL,
    version      bigint NOT NULL,
    principal    text   NOT NULL,
    verb         text   NOT NULL,
    commands     bigint NOT NULL,
    items        bigint NOT NULL,
    bytes        bigint NOT NULL,
    failed_items bigint NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (stream, version, principal, verb)
) WITH (fillfactor = 70);
