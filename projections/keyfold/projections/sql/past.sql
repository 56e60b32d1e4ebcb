-- name: wait
SELECT pg_advisory_xact_lock(5426318107004);

-- name: one
SELECT keyfold.instant(as_of), layout, completed_at IS NOT NULL FROM keyfold.past_schemas WHERE name = %(name)s;

-- name: exists
SELECT 1 FROM pg_namespace WHERE nspname = %(name)s;

-- name: moment
-- What depends on the time is told as of then.
CREATE OR REPLACE FUNCTION ":schema".moment() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN to_timestamp(:milliseconds / 1000.0);

-- name: note
INSERT INTO keyfold.past_schemas (name, as_of, layout) VALUES (%(name)s, %(as_of)s::timestamptz, %(layout)s);

-- name: publish
-- Nobody writes any more, and whoever may read the live projections may read these.
UPDATE ":schema".offsets SET open = false;
GRANT USAGE ON SCHEMA ":schema" TO keyfold_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA ":schema" TO keyfold_auditor;

-- name: complete
UPDATE keyfold.past_schemas SET completed_at = now() WHERE name = %(name)s AND completed_at IS NULL;

-- name: all
SELECT name, keyfold.instant(as_of), keyfold.instant(created_at), keyfold.instant(completed_at), layout
FROM keyfold.past_schemas ORDER BY name;

-- name: remove
DROP SCHEMA IF EXISTS ":schema" CASCADE;

-- name: forget
DELETE FROM keyfold.past_schemas WHERE name = %(name)s;
