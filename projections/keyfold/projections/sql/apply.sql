-- name: staging
-- One temporary table per connection; rows are documents in the form of their table.
CREATE TEMPORARY TABLE IF NOT EXISTS staging (
    kind text NOT NULL, removed boolean NOT NULL, document jsonb NOT NULL
) ON COMMIT DELETE ROWS;

-- name: copy_staging
COPY staging (kind, removed, document) FROM STDIN;

-- name: copy_audit
COPY audit (
    partition, position, kafka_offset, event_id, event_type, time, stream, outcome, code, principal, verb, key_id,
    key_version, contexts, items, payload_bytes, policies, registry_revision, command_id, command_digest, command_offset,
    value, role, signer, statement_n, statement_leaf
) FROM STDIN;

-- name: guard
-- The proof of ownership. No row: somebody else has moved it, or the schema is closed.
UPDATE offsets SET
    next = %(next)s, position = %(position)s, published = %(published)s, places = %(places)s::jsonb,
    signers = %(signers)s::jsonb, last_time = %(last_time)s::timestamptz, halted = NULL, updated_at = clock_timestamp()
WHERE partition = %(partition)s AND next = %(expected)s AND position = %(expected_position)s AND open
RETURNING 1;

-- name: why_not
SELECT next, open FROM offsets WHERE partition = %(partition)s;

-- name: halt
UPDATE offsets SET halted = %(reason)s WHERE partition = %(partition)s AND next = %(expected)s AND open;

-- name: offsets
SELECT next, position, published, places::text, signers::text, keyfold.instant(last_time)
FROM offsets WHERE partition = %(partition)s AND open;

-- name: keys
INSERT INTO keys AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::keys, s.document) r WHERE s.kind = 'keys'
ON CONFLICT (key_id) DO UPDATE SET
    key_spec = excluded.key_spec, protection = excluded.protection, description = excluded.description,
    tags = excluded.tags, status = excluded.status, created_at = excluded.created_at,
    created_by = excluded.created_by, current_version = excluded.current_version, reason = excluded.reason,
    deletion_date = excluded.deletion_date, policy_revision = excluded.policy_revision;

-- name: key_versions
INSERT INTO key_versions AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::key_versions, s.document) r WHERE s.kind = 'key_versions'
ON CONFLICT (key_id, version) DO UPDATE SET
    command_offset = excluded.command_offset, created_at = excluded.created_at, status = excluded.status,
    protected_items = excluded.protected_items;

-- name: key_materials
INSERT INTO key_materials AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::key_materials, s.document) r WHERE s.kind = 'key_materials'
ON CONFLICT (key_id, version) DO UPDATE SET
    generated_at = coalesce(excluded.generated_at, t.generated_at),
    blob_digest = coalesce(excluded.blob_digest, t.blob_digest),
    erased_at = coalesce(excluded.erased_at, t.erased_at);

-- name: principals
INSERT INTO principals AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::principals, s.document) r WHERE s.kind = 'principals'
ON CONFLICT (principal) DO UPDATE SET
    public_key = excluded.public_key, signing_key = excluded.signing_key, groups = excluded.groups,
    tags = excluded.tags, status = excluded.status, registered_at = excluded.registered_at;

-- name: signing_keys
INSERT INTO signing_keys AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::signing_keys, s.document) r WHERE s.kind = 'signing_keys'
ON CONFLICT (signing_key) DO UPDATE SET principal = excluded.principal;

-- name: aliases
INSERT INTO aliases AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::aliases, s.document) r
WHERE s.kind = 'aliases' AND NOT s.removed
ON CONFLICT (alias) DO UPDATE SET key_id = excluded.key_id, updated_at = excluded.updated_at;

-- name: remove_aliases
DELETE FROM aliases t USING staging s WHERE s.kind = 'aliases' AND s.removed AND t.alias = s.document ->> 'alias';

-- name: policies
INSERT INTO policies AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::policies, s.document) r
WHERE s.kind = 'policies' AND NOT s.removed
ON CONFLICT (stream, policy) DO UPDATE SET
    ordinal = excluded.ordinal, text = excluded.text, updated_at = excluded.updated_at;

-- name: remove_policies
DELETE FROM policies t USING staging s
WHERE s.kind = 'policies' AND s.removed
  AND t.stream = s.document ->> 'stream' AND t.policy = s.document ->> 'policy';

-- name: sealing_keys
INSERT INTO sealing_keys AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::sealing_keys, s.document) r WHERE s.kind = 'sealing_keys'
ON CONFLICT (sealing_key) DO UPDATE SET
    public_key = excluded.public_key, published_at = excluded.published_at, retired_at = excluded.retired_at,
    erased_at = excluded.erased_at;

-- name: deployment
INSERT INTO deployment AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::deployment, s.document) r WHERE s.kind = 'deployment'
ON CONFLICT (id) DO UPDATE SET
    root_public_key = excluded.root_public_key, partitions = excluded.partitions, development = excluded.development,
    revision = excluded.revision, policies_revision = excluded.policies_revision,
    current_sealing_key = excluded.current_sealing_key;

-- name: certificates
INSERT INTO certificates
SELECT r.* FROM staging s, jsonb_populate_record(NULL::certificates, s.document) r WHERE s.kind = 'certificates';

-- name: revocations
INSERT INTO revocations
SELECT r.* FROM staging s, jsonb_populate_record(NULL::revocations, s.document) r WHERE s.kind = 'revocations';

-- name: usage
INSERT INTO usage AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::usage, s.document) r WHERE s.kind = 'usage'
ON CONFLICT (stream, version, principal, verb) DO UPDATE SET
    commands = t.commands + excluded.commands, items = t.items + excluded.items, bytes = t.bytes + excluded.bytes,
    failed_items = t.failed_items + excluded.failed_items,
    last_used_at = greatest(t.last_used_at, excluded.last_used_at);

-- name: reports
INSERT INTO reports
SELECT r.* FROM staging s, jsonb_populate_record(NULL::reports, s.document) r WHERE s.kind = 'reports';

-- name: directory
INSERT INTO directory AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::directory, s.document) r WHERE s.kind = 'directory'
ON CONFLICT (name) DO UPDATE SET
    partition = excluded.partition, kafka_offset = excluded.kafka_offset, value = excluded.value,
    headers = excluded.headers;

-- name: unpublished
SELECT name, kafka_offset, value, headers::text FROM directory
WHERE partition = %(partition)s AND kafka_offset >= %(since)s
ORDER BY kafka_offset, name LIMIT %(limit)s;

-- name: load
SELECT 'key/' || key_id, document FROM key_entities WHERE key_id = ANY(%(key)s::uuid[])
UNION ALL
SELECT 'principal/' || principal, document FROM principal_entities WHERE principal = ANY(%(principal)s::text[])
UNION ALL
SELECT 'signing-key/' || signing_key, document FROM signing_key_entities
WHERE signing_key = ANY(%(signing_key)s::text[])
UNION ALL
SELECT alias, document FROM alias_entities WHERE alias = ANY(%(alias)s::text[])
UNION ALL
SELECT 'policy/' || policy, document FROM policy_entities WHERE policy = ANY(%(policy)s::text[])
UNION ALL
SELECT 'sealing-key/' || sealing_key, document FROM sealing_key_entities
WHERE sealing_key = ANY(%(sealing_key)s::uuid[])
UNION ALL
SELECT name, document FROM deployment_entities WHERE name = ANY(%(deployment)s::text[]);

-- name: month_known
-- From the catalog's rows, not by `to_regclass`: that may answer from a cache that is older than the lock.
SELECT EXISTS (SELECT FROM pg_class WHERE relname = %(table)s AND relnamespace = current_schema()::regnamespace);

-- name: month_lock
-- One lock for all months: two that attach several in different order would wait for each other.
SELECT pg_advisory_xact_lock(5426318107002);

-- name: month_create
-- Attached instead of created as a partition: that would lock the readers of the whole table out.
CREATE TABLE :month (LIKE audit INCLUDING ALL);

-- name: month_attach
ALTER TABLE audit ATTACH PARTITION :month FOR VALUES FROM (':from') TO (':to');
