-- Current state: what `evolve` says, as rows. No foreign keys: partitions are folded independently of each other.
CREATE TABLE keys (
    key_id                  uuid PRIMARY KEY,
    key_spec                text        NOT NULL,
    key_usage               text        NOT NULL,
    origin                  text        NOT NULL,
    protection              text        NOT NULL,
    description             text        NOT NULL,
    tags                    jsonb       NOT NULL,
    status                  text        NOT NULL,
    created_at              timestamptz NOT NULL,
    created_by              text        NOT NULL,
    current_version         bigint      NOT NULL,
    reason                  text        NOT NULL,
    deletion_date           timestamptz,
    policy_revision         bigint      NOT NULL,
    usage_budget            bigint      NOT NULL,
    rotate_at_percent       integer,
    not_before              timestamptz,
    not_after               timestamptz,
    rotation_period_seconds bigint,
    rotation_enabled_at     timestamptz,
    changed_at              timestamptz,
    import_parameters       jsonb,
    importing               bigint
);
CREATE INDEX keys_deletion_date ON keys (deletion_date) WHERE status = 'PendingDeletion';

CREATE TABLE key_versions (
    key_id            uuid        NOT NULL,
    version           bigint      NOT NULL,
    command_offset    bigint      NOT NULL,
    created_at        timestamptz NOT NULL,
    status            text        NOT NULL,
    protected_items   bigint      NOT NULL,
    reason            text        NOT NULL,
    changed_at        timestamptz,
    compromised_at    timestamptz,
    occurred_at       timestamptz,
    compromise_reason text        NOT NULL,
    material          boolean     NOT NULL,
    material_offset   bigint,
    valid_to          timestamptz,
    key_check_value   text,
    erased_at         timestamptz,
    PRIMARY KEY (key_id, version)
) WITH (fillfactor = 70);
CREATE INDEX key_versions_compromised ON key_versions (compromised_at) WHERE compromised_at IS NOT NULL;
CREATE INDEX key_versions_valid_to ON key_versions (valid_to) WHERE valid_to IS NOT NULL;

-- Evidence of the worker: when material came into being and when it was erased, its public half and what the token said
-- of it, and the erasure certificate with the last epoch that a blob of it was under.
CREATE TABLE key_materials (
    key_id            uuid   NOT NULL,
    version           bigint NOT NULL,
    generated_at      timestamptz,
    imported_at       timestamptz,
    blob_digest       text,
    public_key        text,
    attributes        jsonb,
    key_check_value   text,
    erased_at         timestamptz,
    certified_at      timestamptz,
    certificate_event text,
    certificate       jsonb,
    epoch             bigint,
    PRIMARY KEY (key_id, version)
);

CREATE TABLE aliases (
    alias      text PRIMARY KEY,
    key_id     uuid        NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX aliases_key_id ON aliases (key_id);

-- `stream` is the registry or a key; a key's policies have an order and no time of their own.
CREATE TABLE policies (
    stream     text    NOT NULL,
    policy     text    NOT NULL,
    ordinal    integer NOT NULL,
    text       text    NOT NULL,
    updated_at timestamptz,
    PRIMARY KEY (stream, policy)
);

CREATE TABLE sealing_keys (
    sealing_key  uuid PRIMARY KEY,
    public_key   text        NOT NULL,
    published_at timestamptz NOT NULL,
    retired_at   timestamptz,
    erased_at    timestamptz
);

CREATE TABLE deployment (
    id                  smallint PRIMARY KEY CHECK (id = 1),
    root_public_key     text    NOT NULL,
    partitions          integer NOT NULL,
    development         boolean NOT NULL,
    revision            bigint  NOT NULL,
    policies_revision   bigint  NOT NULL,
    current_sealing_key uuid,
    limits              jsonb   NOT NULL,
    storage_epoch       bigint  NOT NULL,
    storage_epoch_ended bigint  NOT NULL,
    storage_epoch_end   text
);

-- What keys can be made here: a list of key spec, usage, protection level and algorithms.
CREATE TABLE capabilities (
    id           smallint PRIMARY KEY CHECK (id = 1),
    module       text        NOT NULL,
    capabilities jsonb       NOT NULL,
    imports      jsonb       NOT NULL,
    found_at     timestamptz NOT NULL
);

-- When each storage epoch began, and what the token answered when its key was destroyed. The first has no beginning.
CREATE TABLE storage_epochs (
    epoch           bigint PRIMARY KEY,
    begun_at        timestamptz,
    begun_by        text,
    begun_event     text,
    destroyed_at    timestamptz,
    destroyed_event text,
    token           text,
    serial          text,
    module          text,
    answer          text,
    found_after     bigint,
    evidence        jsonb
);

-- Where each partition says that all its blobs are under an epoch. Each writes its own rows only.
CREATE TABLE storage_epoch_turns (
    epoch        bigint      NOT NULL,
    partition    integer     NOT NULL,
    kafka_offset bigint      NOT NULL,
    position     bigint      NOT NULL,
    turned_at    timestamptz NOT NULL,
    versions     bigint      NOT NULL,
    PRIMARY KEY (epoch, partition)
);

-- What root certified and revoked, one row per event of partition 0.
CREATE TABLE certificates (
    position   bigint PRIMARY KEY,
    signer     text        NOT NULL,
    service    text        NOT NULL,
    topics     jsonb       NOT NULL,
    not_before timestamptz NOT NULL,
    not_after  timestamptz NOT NULL
);

CREATE TABLE revocations (
    position   bigint PRIMARY KEY,
    signer     text        NOT NULL,
    last_valid jsonb       NOT NULL,
    revoked_at timestamptz NOT NULL
);
