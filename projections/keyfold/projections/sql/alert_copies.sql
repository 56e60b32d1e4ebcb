-- name: read
SELECT to_jsonb(t)::text FROM keyfold_alerts.:table t;

-- name: write
INSERT INTO keyfold_alerts.:table
SELECT r.* FROM jsonb_populate_recordset(NULL::keyfold_alerts.:table, %(rows)s::jsonb) r
ON CONFLICT DO NOTHING;
