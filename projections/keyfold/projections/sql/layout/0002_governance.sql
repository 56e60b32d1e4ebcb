-- Who may do what: principals and their keys, issuers, limits, grants, proposals; and what operators did about incidents.
CREATE TABLE principals (
    principal      text PRIMARY KEY,
    principal_type text        NOT NULL,
    groups         jsonb       NOT NULL,
    tags           jsonb       NOT NULL,
    status         text        NOT NULL,
    reason         text        NOT NULL,
    registered_at  timestamptz NOT NULL,
    expires_at     timestamptz,
    issuer         text,
    token_subject  text
);
CREATE INDEX principals_groups ON principals USING gin (groups);
CREATE INDEX principals_issuer ON principals (issuer, token_subject) WHERE issuer IS NOT NULL;

-- The keys that a principal holds, revoked ones too; `ordinal` is their order. A fingerprint stands under more than one
-- principal only where root moved it, and then `signing_key_index` says whose it is.
CREATE TABLE signing_keys (
    principal   text        NOT NULL,
    signing_key text        NOT NULL,
    ordinal     integer     NOT NULL,
    public_key  text        NOT NULL,
    algorithm   text        NOT NULL,
    status      text        NOT NULL,
    added_at    timestamptz NOT NULL,
    expires_at  timestamptz,
    PRIMARY KEY (principal, signing_key)
);
CREATE INDEX signing_keys_signing_key ON signing_keys (signing_key);

CREATE TABLE signing_key_index (
    signing_key text PRIMARY KEY,
    principal   text NOT NULL
);

CREATE TABLE issuers (
    issuer                text PRIMARY KEY,
    url                   text        NOT NULL,
    audience              text        NOT NULL,
    algorithms            jsonb       NOT NULL,
    jwks_source           text,
    keys_lifetime_seconds bigint      NOT NULL,
    max_token_seconds     bigint      NOT NULL,
    groups_claim          text,
    groups                jsonb       NOT NULL,
    tags                  jsonb       NOT NULL,
    base_groups           jsonb       NOT NULL,
    updated_at            timestamptz NOT NULL,
    jwks                  text,
    keys_expire_at        timestamptz
);

CREATE TABLE limits (
    limit_name     text PRIMARY KEY,
    limit_kind     text        NOT NULL,
    unit           text        NOT NULL,
    amount         bigint      NOT NULL,
    period_seconds bigint      NOT NULL,
    burst          bigint      NOT NULL,
    per            text        NOT NULL,
    principal      text,
    group_name     text,
    key_id         uuid,
    verbs          jsonb       NOT NULL,
    updated_at     timestamptz NOT NULL
);

-- How full a limit is. Each partition counts for itself, so the same limit and principal may stand here once for each.
CREATE TABLE buckets (
    partition  integer     NOT NULL,
    bucket     text        NOT NULL,
    limit_kind text,
    limit_name text,
    principal  text,
    key_id     uuid,
    level      bigint      NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (partition, bucket)
) WITH (fillfactor = 70);
CREATE INDEX buckets_principal ON buckets (principal);

CREATE TABLE grants (
    grant_id                  uuid PRIMARY KEY,
    key_id                    uuid        NOT NULL,
    grantee                   text        NOT NULL,
    verbs                     jsonb       NOT NULL,
    expires_at                timestamptz NOT NULL,
    encryption_context_equals jsonb,
    encryption_context_subset jsonb,
    algorithms                jsonb,
    max_operations            bigint,
    max_items                 bigint,
    delegable                 boolean     NOT NULL,
    retiring_principal        text,
    parent                    uuid,
    created_by                text        NOT NULL,
    created_at                timestamptz NOT NULL,
    status                    text        NOT NULL,
    used_operations           bigint      NOT NULL,
    used_items                bigint      NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX grants_key_id ON grants (key_id, created_at);
CREATE INDEX grants_grantee ON grants (grantee, created_at);
CREATE INDEX grants_parent ON grants (parent) WHERE parent IS NOT NULL;

-- Which grants policy looks at for a key and a grantee. It cannot be derived: what has ended is forgotten only when the
-- next grant is made.
CREATE TABLE grant_index (
    key_id  uuid  NOT NULL,
    grantee text  NOT NULL,
    grants  jsonb NOT NULL,
    PRIMARY KEY (key_id, grantee)
);

-- `command` is what the proposer signed, byte by byte; `approvals` who agreed, by which command and when.
CREATE TABLE proposals (
    proposal_id uuid PRIMARY KEY,
    stream      text        NOT NULL,
    digest      text        NOT NULL,
    command     text        NOT NULL,
    body_digest text        NOT NULL,
    signature   text        NOT NULL,
    verb        text        NOT NULL,
    proposer    text        NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    approvals   jsonb       NOT NULL,
    status      text        NOT NULL,
    closed_at   timestamptz,
    closed_by   text,
    code        text
);
CREATE INDEX proposals_stream ON proposals (stream, created_at);
CREATE INDEX proposals_proposer ON proposals (proposer, created_at);
CREATE INDEX proposals_open ON proposals (created_at) WHERE status IN ('Pending', 'Approved');

-- What was said of incidents that analytics opened; incidents themselves are no facts of the log.
CREATE TABLE handled_incidents (
    incident        uuid PRIMARY KEY,
    status          text NOT NULL,
    acknowledged_at timestamptz,
    acknowledged_by text,
    closed_at       timestamptz,
    closed_by       text,
    resolution      text,
    comment         text NOT NULL
);

CREATE TABLE suppressions (
    suppression text PRIMARY KEY,
    detector    text,
    entity      text,
    until       timestamptz NOT NULL,
    comment     text        NOT NULL,
    put_by      text        NOT NULL,
    updated_at  timestamptz NOT NULL
);
