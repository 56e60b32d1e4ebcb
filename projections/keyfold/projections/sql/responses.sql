-- What analytics did about incidents. See `keyfold.projections.responses`.

-- name: record
INSERT INTO keyfold_alerts.responses AS known
VALUES (%(incident)s::uuid, %(verb)s, %(target)s, %(outcome)s, %(at)s::timestamptz, %(command_id)s::uuid, %(code)s,
    %(attempts)s)
ON CONFLICT (incident, verb, target) DO UPDATE
SET outcome = excluded.outcome, responded_at = excluded.responded_at, command_id = excluded.command_id,
    code = excluded.code, attempts = excluded.attempts
WHERE known.outcome = 'sending';

-- name: of_incident
SELECT incident::text, verb, target, outcome, keyfold.instant(responded_at), command_id::text, code, attempts
FROM keyfold_alerts.responses WHERE incident = %(incident)s::uuid
ORDER BY responded_at, verb COLLATE "C", target COLLATE "C";

-- name: sent_since
SELECT count(*) FROM keyfold_alerts.responses WHERE responded_at >= %(since)s::timestamptz AND outcome <> 'withheld';
