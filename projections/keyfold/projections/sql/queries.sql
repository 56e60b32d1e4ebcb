-- name: describe_key
SELECT document FROM keyfold.key_entities WHERE key_id = %(key_id)s::uuid;

-- name: list_keys
SELECT k.key_id::text, k.key_spec, k.protection, k.status, k.description, keyfold.instant(k.created_at), k.created_by,
    k.current_version, keyfold.instant(k.deletion_date),
    (SELECT coalesce(array_agg(a.alias ORDER BY a.alias), '{}') FROM keyfold.aliases a WHERE a.key_id = k.key_id),
    k.key_usage, k.origin, s.state
FROM keyfold.keys k
JOIN keyfold.key_versions v ON v.key_id = k.key_id AND v.version = k.current_version,
LATERAL (
    SELECT keyfold.key_state(k.status, v.material, v.valid_to, v.compromised_at, k.not_before, k.not_after,
        coalesce(%(now)s::timestamptz, now())) AS state
) s
WHERE (%(after)s::uuid IS NULL OR k.key_id > %(after)s::uuid) AND (%(status)s::text IS NULL OR k.status = %(status)s)
  AND (%(state)s::text IS NULL OR s.state = %(state)s)
ORDER BY k.key_id LIMIT %(limit)s;

-- name: key_versions
SELECT v.key_id::text, v.version, v.status, keyfold.instant(v.created_at), v.command_offset, v.protected_items,
    coalesce(u.items, 0)::bigint, keyfold.instant(u.last_used_at), keyfold.instant(m.generated_at),
    keyfold.instant(m.erased_at), v.reason, keyfold.instant(v.changed_at), keyfold.instant(v.compromised_at),
    keyfold.instant(v.occurred_at), v.compromise_reason, v.material, keyfold.instant(m.imported_at),
    keyfold.instant(v.valid_to), v.key_check_value, keyfold.instant(v.erased_at)
FROM keyfold.key_versions v
LEFT JOIN keyfold.key_materials m USING (key_id, version)
LEFT JOIN (
    SELECT version, sum(items) AS items, max(last_used_at) FILTER (WHERE items > 0) AS last_used_at
    FROM keyfold.usage WHERE stream = 'key/' || %(key_id)s GROUP BY version
) u USING (version)
WHERE v.key_id = %(key_id)s::uuid ORDER BY v.version;

-- name: last_use
SELECT DISTINCT ON (version) %(key_id)s::uuid::text, version, keyfold.instant(last_used_at), principal,
    sum(items) OVER (PARTITION BY version)::bigint
FROM keyfold.usage WHERE stream = 'key/' || %(key_id)s AND items > 0
ORDER BY version, last_used_at DESC, principal COLLATE "C";

-- name: public_key
SELECT k.key_id::text, m.version, k.key_spec, k.key_usage, m.public_key
FROM keyfold.keys k JOIN keyfold.key_materials m
    ON m.key_id = k.key_id AND m.version = coalesce(%(version)s::bigint, k.current_version)
WHERE k.key_id = %(key_id)s::uuid AND m.public_key IS NOT NULL;

-- name: erasures
SELECT key_id::text, version, keyfold.instant(certified_at), certificate_event, certificate::text
FROM keyfold.key_materials WHERE key_id = %(key_id)s::uuid AND certified_at IS NOT NULL ORDER BY version;

-- name: usage
SELECT stream, version, principal, verb, commands, items, bytes, failed_items, keyfold.instant(last_used_at)
FROM keyfold.usage
WHERE (%(stream)s::text IS NULL OR stream = %(stream)s) AND (%(principal)s::text IS NULL OR principal = %(principal)s)
ORDER BY stream, version, principal, verb;

-- name: aliases
SELECT e.document FROM keyfold.alias_entities e JOIN keyfold.aliases a USING (alias)
WHERE %(key_id)s::uuid IS NULL OR a.key_id = %(key_id)s::uuid ORDER BY e.alias;

-- name: resolve_alias
SELECT document FROM keyfold.alias_entities WHERE alias = %(alias)s;

-- name: principals
SELECT document FROM keyfold.principal_entities ORDER BY principal;

-- name: principal
SELECT document FROM keyfold.principal_entities WHERE principal = %(principal)s;

-- name: issuers
SELECT document FROM keyfold.issuer_entities ORDER BY issuer COLLATE "C";

-- name: limits
SELECT document FROM keyfold.limit_entities ORDER BY limit_name COLLATE "C";

-- name: suppressions
SELECT document FROM keyfold.suppression_entities ORDER BY suppression COLLATE "C";

-- name: buckets
SELECT partition, bucket, limit_kind, limit_name, principal, key_id::text, level, keyfold.instant(updated_at)
FROM keyfold.buckets WHERE %(principal)s::text IS NULL OR principal = %(principal)s
ORDER BY bucket COLLATE "C", partition;

-- name: grants
SELECT e.document FROM keyfold.grant_entities e JOIN keyfold.grants g USING (grant_id)
WHERE (%(key_id)s::uuid IS NULL OR g.key_id = %(key_id)s::uuid)
  AND (%(grantee)s::text IS NULL OR g.grantee = %(grantee)s)
  AND (%(live_at)s::timestamptz IS NULL OR (g.status = 'Active' AND g.expires_at > %(live_at)s::timestamptz))
ORDER BY g.created_at, g.grant_id;

-- name: grant
SELECT document FROM keyfold.grant_entities WHERE grant_id = %(grant)s::uuid;

-- name: proposals
SELECT e.document FROM keyfold.proposal_entities e JOIN keyfold.proposals p USING (proposal_id)
WHERE (%(stream)s::text IS NULL OR p.stream = %(stream)s) AND (%(status)s::text IS NULL OR p.status = %(status)s)
ORDER BY p.created_at, p.proposal_id;

-- name: proposal
SELECT document FROM keyfold.proposal_entities WHERE proposal_id = %(proposal)s::uuid;

-- name: policies
SELECT stream, policy, text, keyfold.instant(updated_at) FROM keyfold.policies
WHERE %(stream)s::text IS NULL OR stream = %(stream)s ORDER BY stream <> 'registry', stream, ordinal, policy;

-- name: sealing_keys
SELECT e.document FROM keyfold.sealing_key_entities e JOIN keyfold.sealing_keys s USING (sealing_key)
ORDER BY s.published_at, s.sealing_key;

-- name: deployment
SELECT document FROM keyfold.deployment_entities;

-- name: capabilities
SELECT document FROM keyfold.capabilities_entities;

-- name: storage_epoch
SELECT d.storage_epoch, d.storage_epoch_ended, d.partitions, keyfold.instant(b.begun_at), b.begun_by,
    keyfold.instant(e.destroyed_at), e.answer,
    (SELECT coalesce(
        jsonb_agg(jsonb_build_array(t.partition, t.kafka_offset, keyfold.instant(t.turned_at), t.versions)
            ORDER BY t.partition), '[]')::text
    FROM keyfold.storage_epoch_turns t WHERE t.epoch = d.storage_epoch)
FROM keyfold.deployment d
LEFT JOIN keyfold.storage_epochs b ON b.epoch = d.storage_epoch
LEFT JOIN keyfold.storage_epochs e ON e.epoch = d.storage_epoch_ended;

-- name: audit
-- Completed by `queries` with conditions for the filters that were given, order and limit.
SELECT partition, position, kafka_offset, event_id, event_type, keyfold.instant(time), stream, outcome, code, principal,
    verb, key_id::text, key_version, contexts::text, items, payload_bytes, policies, registry_revision, command_id::text,
    command_digest, command_offset, value, role, signer, statement_n, statement_leaf, reason, source, dry_run,
    grant_id::text, proposal_id::text, algorithm, administrative
FROM keyfold.audit;

-- name: audit_log
WHERE partition = %(partition)s AND position >= %(position)s ORDER BY position LIMIT %(limit)s;

-- name: due_deletions
SELECT key_id::text, keyfold.instant(deletion_date) FROM keyfold.keys
WHERE status = 'PendingDeletion' AND deletion_date <= %(now)s::timestamptz
ORDER BY deletion_date, key_id LIMIT %(limit)s;

-- name: due_rotations
-- The same as `projections.rotation.rotation_due`: causes in their order, each by how urgent it is.
SELECT key_id::text, version, cause FROM (
    SELECT k.key_id, v.version, v.compromised_at, k.usage_budget - v.protected_items AS items_left, p.over_at,
        CASE
            WHEN v.compromised_at IS NOT NULL THEN 'compromise'
            WHEN v.protected_items * 100 >= k.usage_budget * k.rotate_at_percent THEN 'usage-budget'
            WHEN p.over_at <= %(now)s::timestamptz THEN 'period'
        END AS cause
    FROM keyfold.keys k
    JOIN keyfold.key_versions v ON v.key_id = k.key_id AND v.version = k.current_version,
    LATERAL (
        SELECT CASE WHEN k.rotation_enabled_at IS NOT NULL THEN
            greatest(v.created_at, k.rotation_enabled_at) + k.rotation_period_seconds * interval '1 second'
        END AS over_at
    ) p
    WHERE k.status = 'Enabled' AND k.origin = 'KEYFOLD' AND v.status = 'Active'
      AND keyfold.key_state(k.status, v.material, v.valid_to, v.compromised_at, k.not_before, k.not_after,
        %(now)s::timestamptz) IN ('Enabled', 'Compromised')
) due
WHERE cause IS NOT NULL
ORDER BY array_position(ARRAY['compromise', 'usage-budget', 'period'], cause),
    CASE cause WHEN 'compromise' THEN extract(epoch FROM compromised_at) WHEN 'usage-budget' THEN items_left
        ELSE extract(epoch FROM over_at) END,
    key_id
LIMIT %(limit)s;

-- name: due_material_expiries
SELECT v.key_id::text, v.version, keyfold.instant(v.valid_to)
FROM keyfold.key_versions v JOIN keyfold.keys k USING (key_id)
WHERE v.valid_to <= %(now)s::timestamptz AND v.material AND v.status IN ('Active', 'Disabled')
  AND k.status IN ('Enabled', 'Disabled')
ORDER BY v.valid_to, v.key_id, v.version LIMIT %(limit)s;

-- name: progress
SELECT partition, next, position, published, keyfold.instant(last_time), halted, keyfold.instant(updated_at)
FROM keyfold.offsets ORDER BY partition;

-- name: reports
SELECT partition, kafka_offset, code, detail, digest, signer, keyfold.instant(time) FROM keyfold.reports
ORDER BY time DESC, partition, kafka_offset DESC LIMIT %(limit)s;
