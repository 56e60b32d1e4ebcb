-- Current state: what `evolve` says, as rows. No foreign keys: partitions are folded independently of each other.
CREATE TABLE keys (
    key_id            uuid PRIMARY KEY,
    key_spec          text        NOT NULL,
    protection        text        NOT NULL,
    description       text        NOT NULL,
    tags              jsonb       NOT NULL,
    status            text        NOT NULL,
    created_at        timestamptz NOT NULL,
    created_by        text        NOT NULL,
    current_version   bigint      NOT NULL,
    reason            text        NOT NULL,
    deletion_date     timestamptz,
    policy_revision   bigint      NOT NULL,
    usage_budget      bigint      NOT NULL,
    rotate_at_percent integer
);
CREATE INDEX keys_deletion_date ON keys (deletion_date) WHERE status = 'PendingDeletion';

CREATE TABLE key_versions (
    key_id          uuid        NOT NULL,
    version         bigint      NOT NULL,
    command_offset  bigint      NOT NULL,
    created_at      timestamptz NOT NULL,
    status          text        NOT NULL,
    protected_items bigint      NOT NULL,
    PRIMARY KEY (key_id, version)
) WITH (fillfactor = 70);

-- Evidence of the worker: when material came into being and when it was erased.
CREATE TABLE key_materials (
    key_id       uuid   NOT NULL,
    version      bigint NOT NULL,
    generated_at timestamptz,
    blob_digest  text,
    erased_at    timestamptz,
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
    limits              jsonb   NOT NULL
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
