-- What stays when projections are rebuilt: which schema is live, and what readers may see.
CREATE SCHEMA IF NOT EXISTS keyfold;

CREATE TABLE keyfold.control (
    singleton      boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    live           text        NOT NULL DEFAULT 'blue' CHECK (live IN ('blue', 'green')),
    building       text        CHECK (building IN ('blue', 'green') AND building <> live),
    phase          text        NOT NULL DEFAULT 'steady' CHECK (phase IN ('steady', 'building', 'swapping')),
    requested      boolean     NOT NULL DEFAULT false,
    generation     bigint      NOT NULL DEFAULT 0,
    live_layout    integer     NOT NULL DEFAULT 0,
    partitions     integer,
    changed_at     timestamptz NOT NULL DEFAULT now(),
    CHECK ((building IS NULL) = (phase = 'steady'))
);
INSERT INTO keyfold.control DEFAULT VALUES;

-- The one text form of an instant, as it stands in events.
CREATE FUNCTION keyfold.instant(moment timestamptz) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'keyfold_auditor') THEN
        CREATE ROLE keyfold_auditor NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role keyfold_auditor is missing; let an administrator run: CREATE ROLE keyfold_auditor NOLOGIN';
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

GRANT USAGE ON SCHEMA keyfold TO keyfold_auditor;
GRANT SELECT ON keyfold.control TO keyfold_auditor;
GRANT EXECUTE ON FUNCTION keyfold.instant(timestamptz) TO keyfold_auditor;
