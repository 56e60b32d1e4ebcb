-- Entities as documents, in exactly the form of `keyfold.events.entities`, to continue the fold from.
CREATE VIEW key_entities AS
SELECT k.key_id, jsonb_build_object(
    'kind', 'key',
    'key_id', k.key_id,
    'key_spec', k.key_spec,
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
            'protected_items', v.protected_items) ORDER BY v.version), '[]')
        FROM key_versions v WHERE v.key_id = k.key_id),
    'current_version', k.current_version,
    'reason', k.reason,
    'deletion_date', keyfold.instant(k.deletion_date),
    'policies', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('policy', p.policy, 'text', p.text) ORDER BY p.ordinal), '[]')
        FROM policies p WHERE p.stream = 'key/' || k.key_id),
    'policy_revision', k.policy_revision)::text AS document
FROM keys k;

CREATE VIEW principal_entities AS
SELECT principal, jsonb_build_object(
    'kind', 'principal',
    'principal', principal,
    'public_key', public_key,
    'signing_key', signing_key,
    'groups', groups,
    'tags', tags,
    'status', status,
    'registered_at', keyfold.instant(registered_at))::text AS document
FROM principals;

CREATE VIEW signing_key_entities AS
SELECT signing_key, jsonb_build_object('kind', 'signing-key', 'principal', principal)::text AS document
FROM signing_keys;

CREATE VIEW alias_entities AS
SELECT alias, jsonb_build_object(
    'kind', 'alias', 'alias', alias, 'key_id', key_id, 'updated_at', keyfold.instant(updated_at))::text AS document
FROM aliases;

CREATE VIEW policy_entities AS
SELECT policy, jsonb_build_object(
    'kind', 'policy', 'policy', policy, 'text', text, 'updated_at', keyfold.instant(updated_at))::text AS document
FROM policies WHERE stream = 'registry';

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
    'current_sealing_key', current_sealing_key)::text AS document
FROM deployment;
