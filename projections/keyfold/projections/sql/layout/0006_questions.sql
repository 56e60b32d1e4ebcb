-- Views for the questions of auditors. Their comments, in 0007, say what a row and a column is.

CREATE VIEW key_uses AS
SELECT d.key_id, d.time, d.principal, d.verb, d.contexts, d.algorithm, d.reason, d.source, d.grant_id, d.proposal_id,
    d.policies, o.outcome, o.code, o.key_version, o.items, o.payload_bytes, d.command_id, d.partition, d.position
FROM audit d
LEFT JOIN audit o ON o.command_id = d.command_id AND o.partition = d.partition
    AND o.command_offset = d.command_offset AND o.role = 'hsm'
WHERE d.event_type = 'keyfold.command.authorized.v1' AND d.key_id IS NOT NULL AND d.contexts IS NOT NULL
  AND NOT d.administrative;

CREATE VIEW key_users AS
SELECT d.key_id, d.principal, d.verb, c.context, min(d.time) AS first_used_at, max(d.time) AS last_used_at,
    count(*) AS commands
FROM audit d, LATERAL jsonb_array_elements(CASE d.contexts WHEN '[]' THEN '[{}]' ELSE d.contexts END) AS c (context)
WHERE d.event_type = 'keyfold.command.authorized.v1' AND d.key_id IS NOT NULL AND d.contexts IS NOT NULL
  AND NOT d.administrative
GROUP BY d.key_id, d.principal, d.verb, c.context;

CREATE VIEW principal_actions AS
SELECT principal, time, verb, outcome, code, stream, key_id, key_version, contexts, items, payload_bytes, algorithm,
    reason, source, grant_id, proposal_id, policies, dry_run, event_type, command_id, partition, position
FROM audit
WHERE principal IS NOT NULL;

CREATE VIEW denials AS
SELECT time, principal, verb, code, stream, key_id, contexts, reason, source, policies, grant_id, proposal_id, dry_run,
    command_id, partition, position
FROM audit
WHERE outcome = 'denied';

CREATE VIEW administrator_actions AS
SELECT a.time, a.principal, coalesce(c.command #>> '{data,principal}', a.principal, a.role) AS author, a.verb,
    a.event_type, a.outcome, a.code, a.stream, a.key_id, a.key_version, a.reason,
    c.command #> '{data,arguments}' AS arguments, a.source, a.proposal_id, a.policies, a.dry_run, a.command_id,
    a.partition, a.position
FROM audit a, LATERAL (SELECT keyfold.signed_command(a.value) AS command) c
WHERE a.administrative;

CREATE VIEW last_uses AS
SELECT DISTINCT ON (keyfold.key_of(u.stream), u.version) keyfold.key_of(u.stream) AS key_id, u.version, u.last_used_at,
    u.principal, u.verb, sum(u.items) OVER (PARTITION BY keyfold.key_of(u.stream), u.version)::bigint AS items
FROM usage u
WHERE u.items > 0 AND keyfold.key_of(u.stream) IS NOT NULL
ORDER BY keyfold.key_of(u.stream), u.version, u.last_used_at DESC, u.principal COLLATE "C", u.verb;

CREATE VIEW key_usage AS
SELECT keyfold.key_of(stream) AS key_id, stream, version, principal, verb, commands, items, bytes, failed_items,
    last_used_at
FROM usage;

CREATE VIEW key_rotations AS
SELECT k.key_id, k.description, s.state, k.origin, k.current_version, v.created_at AS rotated_at,
    floor(extract(epoch FROM moment() - v.created_at) / 86400)::integer AS age_days,
    k.rotation_period_seconds / 86400 AS period_days, k.created_by
FROM keys k
JOIN key_versions v ON v.key_id = k.key_id AND v.version = k.current_version
JOIN key_states s ON s.key_id = k.key_id
WHERE k.status NOT IN ('Destroyed', 'Failed');

CREATE FUNCTION keys_not_rotated(days integer) RETURNS SETOF key_rotations
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM key_rotations WHERE age_days >= days ORDER BY age_days DESC, key_id;
END;
COMMENT ON FUNCTION keys_not_rotated(integer) IS
    'Keys whose current version is at least so many days old, the oldest first.';
