-- name: be_patient
SET LOCAL lock_timeout = 0;

-- name: wait_for_migrations
SELECT pg_advisory_xact_lock(5426318107001);

-- name: wait_for_indexes
SELECT pg_advisory_xact_lock(5426318107003);

-- name: indexed
-- Also before there are rows, and whatever lock the table has: the catalog alone is asked.
SELECT EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = 'usage_principal'
);

-- name: control_schema
-- Who owns the schema, and whether we are one of its owners; no row before the first migration.
SELECT pg_get_userbyid(nspowner)::text, pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'keyfold';

-- name: owner_apart
-- Whether this database has an owner's role of its own, and we are not it.
SELECT EXISTS (
    SELECT FROM pg_roles WHERE rolname = 'keyfold_owner' AND has_database_privilege(oid, current_database(), 'CREATE')
        AND NOT pg_has_role(oid, 'USAGE')
);

-- name: migrations_table
CREATE SCHEMA IF NOT EXISTS keyfold;
CREATE TABLE IF NOT EXISTS keyfold.migrations (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: applied
SELECT name FROM keyfold.migrations;

-- name: note_migration
INSERT INTO keyfold.migrations (name) VALUES (%(name)s);

-- name: status
-- A release that has no `building_layout` yet may still be at work beside a newer reader.
SELECT live, building, phase, requested, generation, live_layout, (to_jsonb(c) ->> 'building_layout')::integer,
    keyfold.instant(changed_at)
FROM keyfold.control c;

-- name: live_layout
SELECT live_layout FROM keyfold.control;

-- name: partitions
SELECT partitions FROM keyfold.control;

-- name: first_layout
UPDATE keyfold.control SET live_layout = %(layout)s, partitions = %(partitions)s, changed_at = now();

-- name: make_schema
CREATE SCHEMA ":schema";

-- name: drop_schema
DROP SCHEMA IF EXISTS ":schema" CASCADE;

-- name: search_path
SET LOCAL search_path = ":schema", pg_catalog;

-- name: fill_offsets
INSERT INTO offsets (partition) SELECT generate_series(0, %(last)s::integer);

-- name: request
UPDATE keyfold.control SET requested = true, changed_at = now() WHERE phase = 'steady';

-- name: begin
UPDATE keyfold.control SET
    building = %(building)s, building_layout = %(layout)s, phase = 'building', requested = false, changed_at = now();

-- name: set_open
UPDATE ":schema".offsets SET open = %(open)s;

-- name: set_phase
UPDATE keyfold.control SET phase = %(phase)s, changed_at = now();

-- name: remaining
SELECT coalesce(sum(greatest(0, l.next - coalesce(b.next, 0))), 0)
FROM ":live".offsets l LEFT JOIN ":building".offsets b USING (partition);

-- name: swap
UPDATE keyfold.control SET
    live = building, building = NULL, phase = 'steady', live_layout = coalesce(building_layout, %(layout)s),
    building_layout = NULL, generation = generation + 1, changed_at = now();

-- name: cancel
UPDATE keyfold.control SET
    building = NULL, building_layout = NULL, phase = 'steady', requested = false, changed_at = now();
