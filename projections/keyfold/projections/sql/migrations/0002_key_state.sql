-- The state that a key is in at a moment: what hides another comes first. The other half of `keyfold.events.key_states`.
CREATE FUNCTION keyfold.key_state(
    status text, material boolean, valid_to timestamptz, compromised_at timestamptz,
    not_before timestamptz, not_after timestamptz, moment timestamptz
) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN status <> 'Enabled' THEN status
        WHEN NOT material OR valid_to <= moment THEN 'PendingImport'
        WHEN compromised_at IS NOT NULL THEN 'Compromised'
        WHEN not_before > moment THEN 'PreActive'
        WHEN not_after <= moment THEN 'Expired'
        ELSE 'Enabled'
    END;

GRANT EXECUTE ON FUNCTION keyfold.key_state(text, boolean, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz)
    TO keyfold_auditor;
