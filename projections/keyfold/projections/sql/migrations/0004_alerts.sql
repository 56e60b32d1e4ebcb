-- What analytics found, and what operators did about it: beside the projections, and untouched by their rebuilds.
CREATE SCHEMA keyfold_alerts;

CREATE TABLE keyfold_alerts.findings (
    finding       uuid PRIMARY KEY,
    detector      text             NOT NULL,
    entity        text             NOT NULL,
    aspect        text             NOT NULL,
    severity      text             NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    window_at     timestamptz      NOT NULL,
    since_at      timestamptz      NOT NULL,
    until_at      timestamptz      NOT NULL,
    observed      double precision NOT NULL,
    expected      double precision NOT NULL,
    unit          text             NOT NULL,
    sentence      text             NOT NULL,
    evidence      jsonb            NOT NULL,
    principal     text,
    key_id        uuid,
    suppressed_by text
);
CREATE INDEX findings_until ON keyfold_alerts.findings (until_at);
CREATE INDEX findings_entity ON keyfold_alerts.findings (entity, until_at);

CREATE TABLE keyfold_alerts.incidents (
    incident   uuid PRIMARY KEY,
    revision   bigint      NOT NULL,
    state      text        NOT NULL CHECK (state IN ('open', 'acknowledged', 'closed')),
    severity   text        NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    opened_at  timestamptz NOT NULL,
    since_at   timestamptz NOT NULL,
    until_at   timestamptz NOT NULL,
    entities   text[]      NOT NULL,
    detectors  text[]      NOT NULL,
    sentence   text        NOT NULL,
    acted_at   timestamptz,
    acted_by   text,
    comment    text        NOT NULL,
    resolution text
);
CREATE INDEX incidents_until ON keyfold_alerts.incidents (until_at);
CREATE INDEX incidents_entities ON keyfold_alerts.incidents USING gin (entities);

-- No foreign keys: a low finding is told before the incident that it turns out to belong to, and either may be old.
CREATE TABLE keyfold_alerts.incident_findings (
    incident uuid NOT NULL,
    finding  uuid NOT NULL,
    PRIMARY KEY (incident, finding)
);

CREATE TABLE keyfold_alerts.acts (
    event_id    text PRIMARY KEY,
    acted_at    timestamptz NOT NULL,
    acted_by    text        NOT NULL,
    kind        text        NOT NULL CHECK (kind IN ('acknowledge', 'close', 'suppress', 'unsuppress')),
    incident    uuid,
    suppression text,
    detector    text,
    entity      text,
    until_at    timestamptz,
    resolution  text,
    comment     text        NOT NULL
);
CREATE INDEX acts_incident ON keyfold_alerts.acts (incident, acted_at);

GRANT USAGE ON SCHEMA keyfold_alerts TO keyfold_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA keyfold_alerts TO keyfold_auditor;
