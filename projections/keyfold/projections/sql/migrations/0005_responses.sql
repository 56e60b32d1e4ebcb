-- What analytics did about incidents: commands that it proposed or issued, and what became of them.
CREATE TABLE keyfold_alerts.responses (
    incident     uuid        NOT NULL,
    verb         text        NOT NULL,
    target       text        NOT NULL,
    outcome      text        NOT NULL,
    responded_at timestamptz NOT NULL,
    command_id   uuid,
    code         text,
    attempts     integer     NOT NULL,
    PRIMARY KEY (incident, verb, target)
);
CREATE INDEX responses_responded_at ON keyfold_alerts.responses (responded_at);
GRANT SELECT ON keyfold_alerts.responses TO keyfold_auditor;
