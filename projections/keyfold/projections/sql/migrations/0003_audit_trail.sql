-- The key of a stream; null for any other stream.
CREATE FUNCTION keyfold.key_of(stream text) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN stream LIKE 'key/%' THEN substr(stream, 5)::uuid END;

-- The command that was signed, from the exact bytes of policy's event; null where there is none to be read.
CREATE FUNCTION keyfold.signed_command(value bytea) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN (convert_from(value, 'UTF8')::jsonb #>> '{data,decision,command}')::jsonb;
EXCEPTION
    WHEN data_exception OR program_limit_exceeded THEN RETURN NULL;
END
$$;

GRANT EXECUTE ON FUNCTION keyfold.key_of(text), keyfold.signed_command(bytea) TO keyfold_auditor;

-- The schemas that hold the projections as of a moment of the past. `completed_at` is null while one is being filled.
CREATE TABLE keyfold.past_schemas (
    name         text PRIMARY KEY,
    as_of        timestamptz NOT NULL,
    layout       integer     NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz
);
GRANT SELECT ON keyfold.past_schemas TO keyfold_auditor;
