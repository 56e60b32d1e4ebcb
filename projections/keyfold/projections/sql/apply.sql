-- name: staging
-- One temporary table per connection; rows are documents in the form of their table.
CREATE TEMPORARY TABLE IF NOT EXISTS staging (
    kind text NOT NULL, removed boolean NOT NULL, document jsonb NOT NULL
) ON COMMIT DELETE ROWS;

-- name: copy_staging
COPY staging (kind, removed, document) FROM STDIN (FORMAT binary);

-- name: copy_audit
COPY audit (
    partition, position, kafka_offset, event_id, event_type, time, stream, outcome, code, principal, verb, key_id,
    key_version, contexts, items, payload_bytes, policies, registry_revision, command_id, command_digest, command_offset,
    value, role, signer, statement_n, statement_leaf, reason, source, dry_run, grant_id, proposal_id, algorithm,
    administrative
) FROM STDIN (FORMAT binary);

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
    key_spec = excluded.key_spec, key_usage = excluded.key_usage, origin = excluded.origin,
    protection = excluded.protection, description = excluded.description,
    tags = excluded.tags, status = excluded.status, created_at = excluded.created_at,
    created_by = excluded.created_by, current_version = excluded.current_version, reason = excluded.reason,
    deletion_date = excluded.deletion_date, policy_revision = excluded.policy_revision,
    usage_budget = excluded.usage_budget, rotate_at_percent = excluded.rotate_at_percent,
    not_before = excluded.not_before, not_after = excluded.not_after,
    rotation_period_seconds = excluded.rotation_period_seconds, rotation_enabled_at = excluded.rotation_enabled_at,
    changed_at = excluded.changed_at, import_parameters = excluded.import_parameters, importing = excluded.importing;

-- name: key_versions
INSERT INTO key_versions AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::key_versions, s.document) r WHERE s.kind = 'key_versions'
ON CONFLICT (key_id, version) DO UPDATE SET
    command_offset = excluded.command_offset, created_at = excluded.created_at, status = excluded.status,
    protected_items = excluded.protected_items, reason = excluded.reason, changed_at = excluded.changed_at,
    compromised_at = excluded.compromised_at, occurred_at = excluded.occurred_at,
    compromise_reason = excluded.compromise_reason, material = excluded.material,
    material_offset = excluded.material_offset, valid_to = excluded.valid_to,
    key_check_value = excluded.key_check_value, erased_at = excluded.erased_at;

-- name: key_materials
-- A document names the columns that an event says something about; the others stay as they are.
INSERT INTO key_materials AS t
SELECT r.*
FROM staging s
LEFT JOIN key_materials k
    ON k.key_id = (s.document ->> 'key_id')::uuid AND k.version = (s.document ->> 'version')::bigint,
LATERAL jsonb_populate_record(k, s.document) r
WHERE s.kind = 'key_materials'
ON CONFLICT (key_id, version) DO UPDATE SET
    generated_at = excluded.generated_at, imported_at = excluded.imported_at, blob_digest = excluded.blob_digest,
    public_key = excluded.public_key, attributes = excluded.attributes, key_check_value = excluded.key_check_value,
    erased_at = excluded.erased_at, certified_at = excluded.certified_at,
    certificate_event = excluded.certificate_event, certificate = excluded.certificate, epoch = excluded.epoch;

-- name: principals
INSERT INTO principals AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::principals, s.document) r WHERE s.kind = 'principals'
ON CONFLICT (principal) DO UPDATE SET
    principal_type = excluded.principal_type, groups = excluded.groups, tags = excluded.tags,
    status = excluded.status, reason = excluded.reason, registered_at = excluded.registered_at,
    expires_at = excluded.expires_at, issuer = excluded.issuer, token_subject = excluded.token_subject;

-- name: signing_keys
INSERT INTO signing_keys AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::signing_keys, s.document) r
WHERE s.kind = 'signing_keys' AND NOT s.removed
ON CONFLICT (principal, signing_key) DO UPDATE SET
    ordinal = excluded.ordinal, public_key = excluded.public_key, algorithm = excluded.algorithm,
    status = excluded.status, added_at = excluded.added_at, expires_at = excluded.expires_at;

-- name: remove_signing_keys
DELETE FROM signing_keys t USING staging s
WHERE s.kind = 'signing_keys' AND s.removed
  AND t.principal = s.document ->> 'principal' AND t.signing_key = s.document ->> 'signing_key';

-- name: signing_key_index
INSERT INTO signing_key_index AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::signing_key_index, s.document) r
WHERE s.kind = 'signing_key_index' AND NOT s.removed
ON CONFLICT (signing_key) DO UPDATE SET
    principal = excluded.principal;

-- name: remove_signing_key_index
DELETE FROM signing_key_index t USING staging s
WHERE s.kind = 'signing_key_index' AND s.removed
  AND t.signing_key = s.document ->> 'signing_key';

-- name: issuers
INSERT INTO issuers AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::issuers, s.document) r
WHERE s.kind = 'issuers' AND NOT s.removed
ON CONFLICT (issuer) DO UPDATE SET
    url = excluded.url, audience = excluded.audience, algorithms = excluded.algorithms,
    jwks_source = excluded.jwks_source, keys_lifetime_seconds = excluded.keys_lifetime_seconds,
    max_token_seconds = excluded.max_token_seconds, groups_claim = excluded.groups_claim, groups = excluded.groups,
    tags = excluded.tags, base_groups = excluded.base_groups, updated_at = excluded.updated_at, jwks = excluded.jwks,
    keys_expire_at = excluded.keys_expire_at;

-- name: remove_issuers
DELETE FROM issuers t USING staging s WHERE s.kind = 'issuers' AND s.removed AND t.issuer = s.document ->> 'issuer';

-- name: limits
INSERT INTO limits AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::limits, s.document) r WHERE s.kind = 'limits' AND NOT s.removed
ON CONFLICT (limit_name) DO UPDATE SET
    limit_kind = excluded.limit_kind, unit = excluded.unit, amount = excluded.amount,
    period_seconds = excluded.period_seconds, burst = excluded.burst, per = excluded.per,
    principal = excluded.principal, group_name = excluded.group_name, key_id = excluded.key_id,
    verbs = excluded.verbs, updated_at = excluded.updated_at;

-- name: remove_limits
DELETE FROM limits t USING staging s
WHERE s.kind = 'limits' AND s.removed
  AND t.limit_name = s.document ->> 'limit_name';

-- name: handled_incidents
INSERT INTO handled_incidents AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::handled_incidents, s.document) r
WHERE s.kind = 'handled_incidents' AND NOT s.removed
ON CONFLICT (incident) DO UPDATE SET
    status = excluded.status, acknowledged_at = excluded.acknowledged_at, acknowledged_by = excluded.acknowledged_by,
    closed_at = excluded.closed_at, closed_by = excluded.closed_by, resolution = excluded.resolution,
    comment = excluded.comment;

-- name: suppressions
INSERT INTO suppressions AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::suppressions, s.document) r
WHERE s.kind = 'suppressions' AND NOT s.removed
ON CONFLICT (suppression) DO UPDATE SET
    detector = excluded.detector, entity = excluded.entity, until = excluded.until, comment = excluded.comment,
    put_by = excluded.put_by, updated_at = excluded.updated_at;

-- name: remove_suppressions
DELETE FROM suppressions t USING staging s
WHERE s.kind = 'suppressions' AND s.removed
  AND t.suppression = s.document ->> 'suppression';

-- name: buckets
INSERT INTO buckets AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::buckets, s.document) r WHERE s.kind = 'buckets'
ON CONFLICT (partition, bucket) DO UPDATE SET
    limit_kind = excluded.limit_kind, limit_name = excluded.limit_name, principal = excluded.principal,
    key_id = excluded.key_id, level = excluded.level, updated_at = excluded.updated_at;

-- name: grants
INSERT INTO grants AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::grants, s.document) r WHERE s.kind = 'grants'
ON CONFLICT (grant_id) DO UPDATE SET
    key_id = excluded.key_id, grantee = excluded.grantee, verbs = excluded.verbs, expires_at = excluded.expires_at,
    encryption_context_equals = excluded.encryption_context_equals,
    encryption_context_subset = excluded.encryption_context_subset, algorithms = excluded.algorithms,
    max_operations = excluded.max_operations, max_items = excluded.max_items, delegable = excluded.delegable,
    retiring_principal = excluded.retiring_principal, parent = excluded.parent, created_by = excluded.created_by,
    created_at = excluded.created_at, status = excluded.status, used_operations = excluded.used_operations,
    used_items = excluded.used_items;

-- name: grant_index
INSERT INTO grant_index AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::grant_index, s.document) r WHERE s.kind = 'grant_index'
ON CONFLICT (key_id, grantee) DO UPDATE SET
    grants = excluded.grants;

-- name: proposals
INSERT INTO proposals AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::proposals, s.document) r WHERE s.kind = 'proposals'
ON CONFLICT (proposal_id) DO UPDATE SET
    stream = excluded.stream, digest = excluded.digest, command = excluded.command,
    body_digest = excluded.body_digest, signature = excluded.signature, verb = excluded.verb,
    proposer = excluded.proposer, created_at = excluded.created_at, expires_at = excluded.expires_at,
    approvals = excluded.approvals, status = excluded.status, closed_at = excluded.closed_at,
    closed_by = excluded.closed_by, code = excluded.code;

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
    current_sealing_key = excluded.current_sealing_key, limits = excluded.limits,
    storage_epoch = excluded.storage_epoch, storage_epoch_ended = excluded.storage_epoch_ended,
    storage_epoch_end = excluded.storage_epoch_end;

-- name: capabilities
INSERT INTO capabilities AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::capabilities, s.document) r WHERE s.kind = 'capabilities'
ON CONFLICT (id) DO UPDATE SET
    module = excluded.module, capabilities = excluded.capabilities, imports = excluded.imports,
    found_at = excluded.found_at;

-- name: storage_epochs
-- A document names the columns that an event says something about; the others stay as they are.
INSERT INTO storage_epochs AS t
SELECT r.*
FROM staging s
LEFT JOIN storage_epochs k ON k.epoch = (s.document ->> 'epoch')::bigint,
LATERAL jsonb_populate_record(k, s.document) r
WHERE s.kind = 'storage_epochs'
ON CONFLICT (epoch) DO UPDATE SET
    begun_at = excluded.begun_at, begun_by = excluded.begun_by, begun_event = excluded.begun_event,
    destroyed_at = excluded.destroyed_at, destroyed_event = excluded.destroyed_event, token = excluded.token,
    serial = excluded.serial, module = excluded.module, answer = excluded.answer, found_after = excluded.found_after,
    evidence = excluded.evidence;

-- name: storage_epoch_turns
INSERT INTO storage_epoch_turns AS t
SELECT r.* FROM staging s, jsonb_populate_record(NULL::storage_epoch_turns, s.document) r
WHERE s.kind = 'storage_epoch_turns'
ON CONFLICT (epoch, partition) DO UPDATE SET
    kafka_offset = excluded.kafka_offset, position = excluded.position, turned_at = excluded.turned_at,
    versions = excluded.versions;

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
SELECT array_agg(name ORDER BY name COLLATE "C"), kafka_offset, (array_agg(value))[1], (array_agg(headers::text))[1]
FROM directory WHERE partition = %(partition)s AND kafka_offset >= %(since)s
GROUP BY kafka_offset ORDER BY kafka_offset LIMIT %(limit)s;

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
SELECT 'issuer/' || issuer, document FROM issuer_entities WHERE issuer = ANY(%(issuer)s::text[])
UNION ALL
SELECT 'limit/' || limit_name, document FROM limit_entities WHERE limit_name = ANY(%(limit)s::text[])
UNION ALL
SELECT 'grant/' || grant_id, document FROM grant_entities WHERE grant_id = ANY(%(grant)s::uuid[])
UNION ALL
SELECT 'grants/' || key_id || '/' || grantee, document FROM grant_index_entities
WHERE (key_id, grantee) IN (
    SELECT split_part(name, '/', 1)::uuid, split_part(name, '/', 2) FROM unnest(%(grants)s::text[]) name)
UNION ALL
SELECT 'proposal/' || proposal_id, document FROM proposal_entities WHERE proposal_id = ANY(%(proposal)s::uuid[])
UNION ALL
SELECT 'incident/' || incident, document FROM incident_entities WHERE incident = ANY(%(incident)s::uuid[])
UNION ALL
SELECT 'suppression/' || suppression, document FROM suppression_entities
WHERE suppression = ANY(%(suppression)s::text[])
UNION ALL
SELECT 'sealing-key/' || sealing_key, document FROM sealing_key_entities
WHERE sealing_key = ANY(%(sealing_key)s::uuid[])
UNION ALL
SELECT name, document FROM deployment_entities WHERE name = ANY(%(deployment)s::text[])
UNION ALL
SELECT name, document FROM capabilities_entities WHERE name = ANY(%(capabilities)s::text[]);

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
