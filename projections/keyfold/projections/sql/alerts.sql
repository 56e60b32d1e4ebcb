-- name: write_findings
-- A finding is written again only where it is more severe than what is there.
INSERT INTO keyfold_alerts.findings AS f
SELECT r.finding, r.detector, r.entity, r.aspect, r.severity, r.window_at, r.since_at, r.until_at, r.observed,
    r.expected, r.unit, r.sentence, r.evidence, r.principal, r.key_id, r.suppressed_by
FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (
    finding uuid, detector text, entity text, aspect text, severity text, window_at timestamptz, since_at timestamptz,
    until_at timestamptz, observed double precision, expected double precision, unit text, sentence text,
    evidence jsonb, principal text, key_id uuid, suppressed_by text
)
ON CONFLICT (finding) DO UPDATE SET
    severity = excluded.severity, since_at = excluded.since_at, until_at = excluded.until_at,
    observed = excluded.observed, expected = excluded.expected, unit = excluded.unit, sentence = excluded.sentence,
    evidence = excluded.evidence, principal = excluded.principal, key_id = excluded.key_id,
    suppressed_by = excluded.suppressed_by
WHERE array_position(ARRAY['low', 'medium', 'high', 'critical'], excluded.severity)
    > array_position(ARRAY['low', 'medium', 'high', 'critical'], f.severity);

-- name: write_incidents
INSERT INTO keyfold_alerts.incidents AS i
SELECT r.incident, r.revision, r.state, r.severity, r.opened_at, r.since_at, r.until_at, r.entities, r.detectors,
    r.sentence, r.acted_at, r.acted_by, r.comment, r.resolution
FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (
    incident uuid, revision bigint, state text, severity text, opened_at timestamptz, since_at timestamptz,
    until_at timestamptz, entities text[], detectors text[], sentence text, acted_at timestamptz, acted_by text,
    comment text, resolution text
)
ON CONFLICT (incident) DO UPDATE SET
    revision = excluded.revision, state = excluded.state, severity = excluded.severity,
    opened_at = excluded.opened_at, since_at = excluded.since_at, until_at = excluded.until_at,
    entities = excluded.entities, detectors = excluded.detectors, sentence = excluded.sentence,
    acted_at = excluded.acted_at, acted_by = excluded.acted_by, comment = excluded.comment,
    resolution = excluded.resolution
WHERE excluded.revision > i.revision;

-- name: write_links
INSERT INTO keyfold_alerts.incident_findings
SELECT r.incident, r.finding FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (incident uuid, finding uuid)
ON CONFLICT DO NOTHING;

-- name: write_acts
INSERT INTO keyfold_alerts.acts
SELECT r.event_id, r.acted_at, r.acted_by, r.kind, r.incident, r.suppression, r.detector, r.entity, r.until_at,
    r.resolution, r.comment
FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (
    event_id text, acted_at timestamptz, acted_by text, kind text, incident uuid, suppression text, detector text,
    entity text, until_at timestamptz, resolution text, comment text
)
ON CONFLICT DO NOTHING;

-- name: act
-- An incident that analytics has forgotten is acted on here; one that it knows, it has written already.
UPDATE keyfold_alerts.incidents SET
    state = %(state)s, acted_at = %(acted_at)s::timestamptz, acted_by = %(acted_by)s, comment = %(comment)s,
    resolution = %(resolution)s
WHERE incident = %(incident)s::uuid AND state <> 'closed' AND state <> %(state)s;

-- name: findings
SELECT f.finding::text, f.detector, f.entity, f.aspect, f.severity, keyfold.instant(f.window_at),
    keyfold.instant(f.since_at), keyfold.instant(f.until_at), f.observed, f.expected, f.unit, f.sentence,
    f.evidence::text, f.principal, f.key_id::text, f.suppressed_by,
    (SELECT min(l.incident::text) FROM keyfold_alerts.incident_findings l WHERE l.finding = f.finding)
FROM keyfold_alerts.findings f
WHERE (%(severity)s::text IS NULL
        OR array_position(ARRAY['low', 'medium', 'high', 'critical'], f.severity)
            >= array_position(ARRAY['low', 'medium', 'high', 'critical'], %(severity)s))
  AND (%(entity)s::text IS NULL OR f.entity = %(entity)s OR 'principal/' || f.principal = %(entity)s
        OR 'key/' || f.key_id::text = %(entity)s)
  AND (%(detector)s::text IS NULL OR f.detector = %(detector)s)
  AND (%(since)s::timestamptz IS NULL OR f.until_at >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR f.until_at < %(until)s::timestamptz)
  AND (%(finding)s::uuid IS NULL OR f.finding = %(finding)s::uuid)
  AND (%(incident)s::uuid IS NULL OR EXISTS (
        SELECT FROM keyfold_alerts.incident_findings l
        WHERE l.finding = f.finding AND l.incident = %(incident)s::uuid))
ORDER BY f.until_at DESC, f.finding LIMIT %(limit)s;

-- name: incidents
SELECT i.incident::text, i.revision, i.state, i.severity, keyfold.instant(i.opened_at), keyfold.instant(i.since_at),
    keyfold.instant(i.until_at), i.entities, i.detectors,
    (SELECT count(*) FROM keyfold_alerts.incident_findings l WHERE l.incident = i.incident),
    i.sentence, keyfold.instant(i.acted_at), i.acted_by, i.comment, i.resolution
FROM keyfold_alerts.incidents i
WHERE (%(severity)s::text IS NULL
        OR array_position(ARRAY['low', 'medium', 'high', 'critical'], i.severity)
            >= array_position(ARRAY['low', 'medium', 'high', 'critical'], %(severity)s))
  AND (%(state)s::text IS NULL OR i.state = %(state)s)
  AND (%(entity)s::text IS NULL OR i.entities @> ARRAY[%(entity)s::text])
  AND (%(detector)s::text IS NULL OR %(detector)s = ANY (i.detectors))
  AND (%(since)s::timestamptz IS NULL OR i.until_at >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR i.until_at < %(until)s::timestamptz)
  AND (%(incident)s::uuid IS NULL OR i.incident = %(incident)s::uuid)
ORDER BY i.until_at DESC, i.incident LIMIT %(limit)s;

-- name: acts
SELECT event_id, keyfold.instant(acted_at), acted_by, kind, incident::text, suppression, detector, entity,
    keyfold.instant(until_at), resolution, comment
FROM keyfold_alerts.acts WHERE incident = %(incident)s::uuid ORDER BY acted_at, event_id;
