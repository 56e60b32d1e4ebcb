-- Entities as documents, in exactly the form of `keyfold.events.entities`, to continue the fold from.
CREATE VIEW key_entities AS
SELECT k.key_id, jsonb_build_object(
    'kind', 'key',
    'key_id', k.key_id,
    'key_spec', k.key_spec,
    'key_usage', k.key_usage,
    'origin', k.origin,
    'protection', k.protection,
    'description', k.description,
    'tags', k.tags,
    'status', k.status,
    'created_at', keyfold.instant(k.created_at),
    'created_by', k.created_by,
    'versions', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'version', v.version,
            'offset', v.command_offset,
            'created_at', keyfold.instant(v.created_at),
            'status', v.status,
            'protected_items', v.protected_items,
            'reason', v.reason,
            'changed_at', keyfold.instant(v.changed_at),
            'compromised_at', keyfold.instant(v.compromised_at),
            'occurred_at', keyfold.instant(v.occurred_at),
            'compromise_reason', v.compromise_reason,
            'material', v.material,
            'material_offset', v.material_offset,
            'valid_to', keyfold.instant(v.valid_to),
            'key_check_value', v.key_check_value,
            'erased_at', keyfold.instant(v.erased_at)) ORDER BY v.version), '[]')
        FROM key_versions v WHERE v.key_id = k.key_id),
    'current_version', k.current_version,
    'reason', k.reason,
    'deletion_date', keyfold.instant(k.deletion_date),
    'policies', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('policy', p.policy, 'text', p.text) ORDER BY p.ordinal), '[]')
        FROM policies p WHERE p.stream = 'key/' || k.key_id),
    'policy_revision', k.policy_revision,
    'usage_budget', k.usage_budget,
    'rotate_at_percent', k.rotate_at_percent,
    'not_before', keyfold.instant(k.not_before),
    'not_after', keyfold.instant(k.not_after),
    'rotation_period_seconds', k.rotation_period_seconds,
    'rotation_enabled_at', keyfold.instant(k.rotation_enabled_at),
    'changed_at', keyfold.instant(k.changed_at),
    'import_parameters', k.import_parameters,
    'importing', k.importing)::text AS document
FROM keys k;

-- The effective state of each key as of the schema's moment.
CREATE VIEW key_states AS
SELECT k.key_id, keyfold.key_state(
    k.status, v.material, v.valid_to, v.compromised_at, k.not_before, k.not_after, moment()) AS state
FROM keys k JOIN key_versions v ON v.key_id = k.key_id AND v.version = k.current_version;

CREATE VIEW principal_entities AS
SELECT p.principal, jsonb_build_object(
    'kind', 'principal',
    'principal', p.principal,
    'principal_type', p.principal_type,
    'keys', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'signing_key', k.signing_key,
            'public_key', k.public_key,
            'algorithm', k.algorithm,
            'status', k.status,
            'added_at', keyfold.instant(k.added_at),
            'expires_at', keyfold.instant(k.expires_at)) ORDER BY k.ordinal), '[]')
        FROM signing_keys k WHERE k.principal = p.principal),
    'groups', p.groups,
    'tags', p.tags,
    'status', p.status,
    'reason', p.reason,
    'registered_at', keyfold.instant(p.registered_at),
    'expires_at', keyfold.instant(p.expires_at),
    'issuer', p.issuer,
    'token_subject', p.token_subject)::text AS document
FROM principals p;

CREATE VIEW signing_key_entities AS
SELECT signing_key, jsonb_build_object('kind', 'signing-key', 'principal', principal)::text AS document
FROM signing_key_index;

CREATE VIEW alias_entities AS
SELECT alias, jsonb_build_object(
    'kind', 'alias', 'alias', alias, 'key_id', key_id, 'updated_at', keyfold.instant(updated_at))::text AS document
FROM aliases;

CREATE VIEW policy_entities AS
SELECT policy, jsonb_build_object(
    'kind', 'policy', 'policy', policy, 'text', text, 'updated_at', keyfold.instant(updated_at))::text AS document
FROM policies WHERE stream = 'registry';

CREATE VIEW issuer_entities AS
SELECT issuer, jsonb_build_object(
    'kind', 'issuer',
    'issuer', issuer,
    'url', url,
    'audience', audience,
    'algorithms', algorithms,
    'jwks_source', jwks_source,
    'keys_lifetime_seconds', keys_lifetime_seconds,
    'max_token_seconds', max_token_seconds,
    'groups_claim', groups_claim,
    'groups', groups,
    'tags', tags,
    'base_groups', base_groups,
    'updated_at', keyfold.instant(updated_at),
    'jwks', jwks,
    'keys_expire_at', keyfold.instant(keys_expire_at))::text AS document
FROM issuers;

CREATE VIEW limit_entities AS
SELECT limit_name, jsonb_build_object(
    'kind', 'limit',
    'limit', limit_name,
    'limit_kind', limit_kind,
    'unit', unit,
    'amount', amount,
    'period_seconds', period_seconds,
    'burst', burst,
    'per', per,
    'principal', principal,
    'group', group_name,
    'key_id', key_id,
    'verbs', verbs,
    'updated_at', keyfold.instant(updated_at))::text AS document
FROM limits;

CREATE VIEW grant_entities AS
SELECT grant_id, jsonb_build_object(
    'kind', 'grant',
    'grant', grant_id,
    'key_id', key_id,
    'grantee', grantee,
    'verbs', verbs,
    'expires_at', keyfold.instant(expires_at),
    'encryption_context_equals', encryption_context_equals,
    'encryption_context_subset', encryption_context_subset,
    'algorithms', algorithms,
    'max_operations', max_operations,
    'max_items', max_items,
    'delegable', delegable,
    'retiring_principal', retiring_principal,
    'parent', parent,
    'created_by', created_by,
    'created_at', keyfold.instant(created_at),
    'status', status,
    'used_operations', used_operations,
    'used_items', used_items)::text AS document
FROM grants;

CREATE VIEW grant_index_entities AS
SELECT key_id, grantee, jsonb_build_object('kind', 'grants', 'grants', grants)::text AS document
FROM grant_index;

CREATE VIEW proposal_entities AS
SELECT proposal_id, jsonb_build_object(
    'kind', 'proposal',
    'proposal', proposal_id,
    'stream', stream,
    'digest', digest,
    'command', command,
    'body_digest', body_digest,
    'signature', signature,
    'verb', verb,
    'proposer', proposer,
    'created_at', keyfold.instant(created_at),
    'expires_at', keyfold.instant(expires_at),
    'approvals', approvals,
    'status', status,
    'closed_at', keyfold.instant(closed_at),
    'closed_by', closed_by,
    'code', code)::text AS document
FROM proposals;

CREATE VIEW incident_entities AS
SELECT incident, jsonb_build_object(
    'kind', 'incident',
    'incident', incident,
    'status', status,
    'acknowledged_at', keyfold.instant(acknowledged_at),
    'acknowledged_by', acknowledged_by,
    'closed_at', keyfold.instant(closed_at),
    'closed_by', closed_by,
    'resolution', resolution,
    'comment', comment)::text AS document
FROM handled_incidents;

CREATE VIEW suppression_entities AS
SELECT suppression, jsonb_build_object(
    'kind', 'suppression',
    'suppression', suppression,
    'detector', detector,
    'entity', entity,
    'until', keyfold.instant(until),
    'comment', comment,
    'put_by', put_by,
    'updated_at', keyfold.instant(updated_at))::text AS document
FROM suppressions;

CREATE VIEW sealing_key_entities AS
SELECT sealing_key, jsonb_build_object(
    'kind', 'sealing-key',
    'sealing_key', sealing_key,
    'public_key', public_key,
    'published_at', keyfold.instant(published_at),
    'retired_at', keyfold.instant(retired_at),
    'erased_at', keyfold.instant(erased_at))::text AS document
FROM sealing_keys;

CREATE VIEW deployment_entities AS
SELECT 'deployment' AS name, jsonb_build_object(
    'kind', 'deployment',
    'root_public_key', root_public_key,
    'partitions', partitions,
    'development', development,
    'revision', revision,
    'policies_revision', policies_revision,
    'current_sealing_key', current_sealing_key,
    'limits', limits,
    'storage_epoch', storage_epoch,
    'storage_epoch_ended', storage_epoch_ended,
    'storage_epoch_end', storage_epoch_end)::text AS document
FROM deployment;

CREATE VIEW capabilities_entities AS
SELECT 'capabilities' AS name, jsonb_build_object(
    'kind', 'capabilities',
    'module', module,
    'capabilities', capabilities,
    'imports', imports,
    'found_at', keyfold.instant(found_at))::text AS document
FROM capabilities;
