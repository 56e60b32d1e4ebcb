-- The moment as of which what depends on time is told: now, or what a schema of the past was made for.
CREATE FUNCTION moment() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN now();
