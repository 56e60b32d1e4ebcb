-- The views of auditors as `keyfold audit query --view` shows them: columns by name, instants as text. Each takes a key,
-- a principal, a span of time, a number of days and a limit; null means any.

-- name: key_uses
SELECT keyfold.instant(time) AS time, key_id::text, principal, verb, contexts, algorithm, outcome, code,
    key_version, items, payload_bytes, reason, source, grant_id::text, proposal_id::text, command_id::text
FROM keyfold.key_uses v
WHERE (%(key_id)s::uuid IS NULL OR key_id = %(key_id)s::uuid)
  AND (%(principal)s::text IS NULL OR principal = %(principal)s)
  AND (%(since)s::timestamptz IS NULL OR time >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR time < %(until)s::timestamptz)
ORDER BY v.time DESC, partition DESC, position DESC LIMIT %(limit)s;

-- name: key_users
SELECT key_id::text, principal, verb, context, keyfold.instant(first_used_at) AS first_used_at,
    keyfold.instant(last_used_at) AS last_used_at, commands
FROM keyfold.key_users v
WHERE (%(key_id)s::uuid IS NULL OR key_id = %(key_id)s::uuid)
  AND (%(principal)s::text IS NULL OR principal = %(principal)s)
  AND (%(since)s::timestamptz IS NULL OR v.last_used_at >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR v.first_used_at < %(until)s::timestamptz)
ORDER BY v.first_used_at, key_id, principal, verb, context::text LIMIT %(limit)s;

-- name: principal_actions
SELECT keyfold.instant(time) AS time, principal, verb, outcome, code, stream, key_version, contexts, items,
    reason, source, grant_id::text, proposal_id::text, dry_run, command_id::text
FROM keyfold.principal_actions v
WHERE (%(key_id)s::uuid IS NULL OR key_id = %(key_id)s::uuid)
  AND (%(principal)s::text IS NULL OR principal = %(principal)s)
  AND (%(since)s::timestamptz IS NULL OR time >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR time < %(until)s::timestamptz)
ORDER BY v.time DESC, partition DESC, position DESC LIMIT %(limit)s;

-- name: denials
SELECT keyfold.instant(time) AS time, principal, verb, code, stream, contexts, policies, reason, source, dry_run,
    command_id::text
FROM keyfold.denials v
WHERE (%(key_id)s::uuid IS NULL OR key_id = %(key_id)s::uuid)
  AND (%(principal)s::text IS NULL OR principal = %(principal)s)
  AND (%(since)s::timestamptz IS NULL OR time >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR time < %(until)s::timestamptz)
ORDER BY v.time DESC, partition DESC, position DESC LIMIT %(limit)s;

-- name: administrator_actions
SELECT keyfold.instant(time) AS time, author, principal, verb, event_type, outcome, code, stream, key_version, reason,
    arguments, proposal_id::text, policies, dry_run, command_id::text
FROM keyfold.administrator_actions v
WHERE (%(key_id)s::uuid IS NULL OR key_id = %(key_id)s::uuid)
  AND (%(principal)s::text IS NULL OR %(principal)s IN (principal, author))
  AND (%(since)s::timestamptz IS NULL OR time >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR time < %(until)s::timestamptz)
ORDER BY v.time DESC, partition DESC, position DESC LIMIT %(limit)s;

-- name: last_uses
SELECT key_id::text, version, keyfold.instant(last_used_at) AS last_used_at, principal, verb, items
FROM keyfold.last_uses v
WHERE (%(key_id)s::uuid IS NULL OR key_id = %(key_id)s::uuid)
  AND (%(principal)s::text IS NULL OR principal = %(principal)s)
  AND (%(since)s::timestamptz IS NULL OR v.last_used_at >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR v.last_used_at < %(until)s::timestamptz)
ORDER BY key_id, version LIMIT %(limit)s;

-- name: key_usage
SELECT stream, version, principal, verb, commands, items, bytes, failed_items,
    keyfold.instant(last_used_at) AS last_used_at
FROM keyfold.key_usage v
WHERE (%(key_id)s::uuid IS NULL OR key_id = %(key_id)s::uuid)
  AND (%(principal)s::text IS NULL OR principal = %(principal)s)
  AND (%(since)s::timestamptz IS NULL OR v.last_used_at >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR v.last_used_at < %(until)s::timestamptz)
ORDER BY stream, version, principal, verb LIMIT %(limit)s;

-- name: keys_not_rotated
SELECT key_id::text, description, state, current_version, keyfold.instant(rotated_at) AS rotated_at, age_days,
    period_days, created_by
FROM keyfold.keys_not_rotated(coalesce(%(days)s::integer, 0)) v
WHERE (%(key_id)s::uuid IS NULL OR key_id = %(key_id)s::uuid)
  AND (%(principal)s::text IS NULL OR created_by = %(principal)s)
  AND (%(since)s::timestamptz IS NULL OR v.rotated_at >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR v.rotated_at < %(until)s::timestamptz)
ORDER BY age_days DESC, key_id LIMIT %(limit)s;
