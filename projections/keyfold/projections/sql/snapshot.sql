-- name: settings
-- An auditor may take hours over one snapshot: only single statements have a deadline.
SELECT set_config('search_path', 'pg_catalog', false), set_config('timezone', 'UTC', false),
    set_config('application_name', 'keyfold-audit', false), set_config('statement_timeout', %(statement_ms)s, false),
    set_config('idle_in_transaction_session_timeout', '0', false);

-- name: isolation
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: offsets
SELECT partition, next, position, published, places::text, signers::text, keyfold.instant(last_time)
FROM keyfold.offsets ORDER BY partition;

-- name: columns
SELECT a.attname::text, t.typname::text
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'keyfold' AND c.relname = %(table)s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;

-- name: audit_partitions
-- Hops along the index from one partition to the next, instead of reading it all.
WITH RECURSIVE hop AS (
    SELECT min(partition) AS partition FROM keyfold.audit
    UNION ALL
    SELECT (SELECT min(a.partition) FROM keyfold.audit a WHERE a.partition > hop.partition)
    FROM hop WHERE hop.partition IS NOT NULL
)
SELECT partition FROM hop WHERE partition IS NOT NULL;

-- name: audit_of
WHERE partition = %(partition)s ORDER BY position;
