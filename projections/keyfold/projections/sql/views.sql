-- What readers see, whichever schema is live; `:schema` is replaced by its name. All of it changes in one transaction.
DROP FUNCTION IF EXISTS keyfold.keys_not_rotated(integer);
DROP VIEW IF EXISTS keyfold.keys;
CREATE VIEW keyfold.keys AS SELECT * FROM :schema.keys;
DROP VIEW IF EXISTS keyfold.key_versions;
CREATE VIEW keyfold.key_versions AS SELECT * FROM :schema.key_versions;
DROP VIEW IF EXISTS keyfold.key_materials;
CREATE VIEW keyfold.key_materials AS SELECT * FROM :schema.key_materials;
DROP VIEW IF EXISTS keyfold.principals;
CREATE VIEW keyfold.principals AS SELECT * FROM :schema.principals;
DROP VIEW IF EXISTS keyfold.signing_keys;
CREATE VIEW keyfold.signing_keys AS SELECT * FROM :schema.signing_keys;
DROP VIEW IF EXISTS keyfold.signing_key_index;
CREATE VIEW keyfold.signing_key_index AS SELECT * FROM :schema.signing_key_index;
DROP VIEW IF EXISTS keyfold.issuers;
CREATE VIEW keyfold.issuers AS SELECT * FROM :schema.issuers;
DROP VIEW IF EXISTS keyfold.limits;
CREATE VIEW keyfold.limits AS SELECT * FROM :schema.limits;
DROP VIEW IF EXISTS keyfold.buckets;
CREATE VIEW keyfold.buckets AS SELECT * FROM :schema.buckets;
DROP VIEW IF EXISTS keyfold.grants;
CREATE VIEW keyfold.grants AS SELECT * FROM :schema.grants;
DROP VIEW IF EXISTS keyfold.grant_index;
CREATE VIEW keyfold.grant_index AS SELECT * FROM :schema.grant_index;
DROP VIEW IF EXISTS keyfold.proposals;
CREATE VIEW keyfold.proposals AS SELECT * FROM :schema.proposals;
DROP VIEW IF EXISTS keyfold.aliases;
CREATE VIEW keyfold.aliases AS SELECT * FROM :schema.aliases;
DROP VIEW IF EXISTS keyfold.policies;
CREATE VIEW keyfold.policies AS SELECT * FROM :schema.policies;
DROP VIEW IF EXISTS keyfold.handled_incidents;
CREATE VIEW keyfold.handled_incidents AS SELECT * FROM :schema.handled_incidents;
DROP VIEW IF EXISTS keyfold.suppressions;
CREATE VIEW keyfold.suppressions AS SELECT * FROM :schema.suppressions;
DROP VIEW IF EXISTS keyfold.sealing_keys;
CREATE VIEW keyfold.sealing_keys AS SELECT * FROM :schema.sealing_keys;
DROP VIEW IF EXISTS keyfold.deployment;
CREATE VIEW keyfold.deployment AS SELECT * FROM :schema.deployment;
DROP VIEW IF EXISTS keyfold.capabilities;
CREATE VIEW keyfold.capabilities AS SELECT * FROM :schema.capabilities;
DROP VIEW IF EXISTS keyfold.storage_epochs;
CREATE VIEW keyfold.storage_epochs AS SELECT * FROM :schema.storage_epochs;
DROP VIEW IF EXISTS keyfold.storage_epoch_turns;
CREATE VIEW keyfold.storage_epoch_turns AS SELECT * FROM :schema.storage_epoch_turns;
DROP VIEW IF EXISTS keyfold.certificates;
CREATE VIEW keyfold.certificates AS SELECT * FROM :schema.certificates;
DROP VIEW IF EXISTS keyfold.revocations;
CREATE VIEW keyfold.revocations AS SELECT * FROM :schema.revocations;
DROP VIEW IF EXISTS keyfold.audit;
CREATE VIEW keyfold.audit AS SELECT * FROM :schema.audit;
DROP VIEW IF EXISTS keyfold.usage;
CREATE VIEW keyfold.usage AS SELECT * FROM :schema.usage;
DROP VIEW IF EXISTS keyfold.offsets;
CREATE VIEW keyfold.offsets AS SELECT * FROM :schema.offsets;
DROP VIEW IF EXISTS keyfold.reports;
CREATE VIEW keyfold.reports AS SELECT * FROM :schema.reports;
DROP VIEW IF EXISTS keyfold.directory;
CREATE VIEW keyfold.directory AS SELECT * FROM :schema.directory;
DROP VIEW IF EXISTS keyfold.key_entities;
CREATE VIEW keyfold.key_entities AS SELECT * FROM :schema.key_entities;
DROP VIEW IF EXISTS keyfold.principal_entities;
CREATE VIEW keyfold.principal_entities AS SELECT * FROM :schema.principal_entities;
DROP VIEW IF EXISTS keyfold.signing_key_entities;
CREATE VIEW keyfold.signing_key_entities AS SELECT * FROM :schema.signing_key_entities;
DROP VIEW IF EXISTS keyfold.alias_entities;
CREATE VIEW keyfold.alias_entities AS SELECT * FROM :schema.alias_entities;
DROP VIEW IF EXISTS keyfold.policy_entities;
CREATE VIEW keyfold.policy_entities AS SELECT * FROM :schema.policy_entities;
DROP VIEW IF EXISTS keyfold.issuer_entities;
CREATE VIEW keyfold.issuer_entities AS SELECT * FROM :schema.issuer_entities;
DROP VIEW IF EXISTS keyfold.limit_entities;
CREATE VIEW keyfold.limit_entities AS SELECT * FROM :schema.limit_entities;
DROP VIEW IF EXISTS keyfold.grant_entities;
CREATE VIEW keyfold.grant_entities AS SELECT * FROM :schema.grant_entities;
DROP VIEW IF EXISTS keyfold.grant_index_entities;
CREATE VIEW keyfold.grant_index_entities AS SELECT * FROM :schema.grant_index_entities;
DROP VIEW IF EXISTS keyfold.proposal_entities;
CREATE VIEW keyfold.proposal_entities AS SELECT * FROM :schema.proposal_entities;
DROP VIEW IF EXISTS keyfold.incident_entities;
CREATE VIEW keyfold.incident_entities AS SELECT * FROM :schema.incident_entities;
DROP VIEW IF EXISTS keyfold.suppression_entities;
CREATE VIEW keyfold.suppression_entities AS SELECT * FROM :schema.suppression_entities;
DROP VIEW IF EXISTS keyfold.sealing_key_entities;
CREATE VIEW keyfold.sealing_key_entities AS SELECT * FROM :schema.sealing_key_entities;
DROP VIEW IF EXISTS keyfold.deployment_entities;
CREATE VIEW keyfold.deployment_entities AS SELECT * FROM :schema.deployment_entities;
DROP VIEW IF EXISTS keyfold.capabilities_entities;
CREATE VIEW keyfold.capabilities_entities AS SELECT * FROM :schema.capabilities_entities;
DROP VIEW IF EXISTS keyfold.key_states;
CREATE VIEW keyfold.key_states AS SELECT * FROM :schema.key_states;
DROP VIEW IF EXISTS keyfold.key_uses;
CREATE VIEW keyfold.key_uses AS SELECT * FROM :schema.key_uses;
DROP VIEW IF EXISTS keyfold.key_users;
CREATE VIEW keyfold.key_users AS SELECT * FROM :schema.key_users;
DROP VIEW IF EXISTS keyfold.principal_actions;
CREATE VIEW keyfold.principal_actions AS SELECT * FROM :schema.principal_actions;
DROP VIEW IF EXISTS keyfold.denials;
CREATE VIEW keyfold.denials AS SELECT * FROM :schema.denials;
DROP VIEW IF EXISTS keyfold.administrator_actions;
CREATE VIEW keyfold.administrator_actions AS SELECT * FROM :schema.administrator_actions;
DROP VIEW IF EXISTS keyfold.last_uses;
CREATE VIEW keyfold.last_uses AS SELECT * FROM :schema.last_uses;
DROP VIEW IF EXISTS keyfold.key_usage;
CREATE VIEW keyfold.key_usage AS SELECT * FROM :schema.key_usage;
DROP VIEW IF EXISTS keyfold.key_rotations;
CREATE VIEW keyfold.key_rotations AS SELECT * FROM :schema.key_rotations;
CREATE FUNCTION keyfold.keys_not_rotated(days integer) RETURNS SETOF keyfold.key_rotations
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM keyfold.key_rotations WHERE age_days >= days ORDER BY age_days DESC, key_id;
END;
COMMENT ON FUNCTION keyfold.keys_not_rotated(integer) IS
    'Keys whose current version is at least so many days old, the oldest first.';
GRANT EXECUTE ON FUNCTION keyfold.keys_not_rotated(integer) TO keyfold_auditor;

DO $$
DECLARE said record;
BEGIN
    FOR said IN
        SELECT d.objsubid, s.relname, a.attname, d.description
        FROM pg_description d
        JOIN pg_class s ON s.oid = d.objoid AND s.relnamespace = ':schema'::regnamespace
        JOIN pg_class v ON v.relname = s.relname AND v.relnamespace = 'keyfold'::regnamespace AND v.relkind = 'v'
        LEFT JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum = d.objsubid AND d.objsubid > 0
        WHERE d.classoid = 'pg_class'::regclass
    LOOP
        IF said.objsubid = 0 THEN
            EXECUTE format('COMMENT ON VIEW keyfold.%I IS %L', said.relname, said.description);
        ELSE
            EXECUTE format('COMMENT ON COLUMN keyfold.%I.%I IS %L', said.relname, said.attname, said.description);
        END IF;
    END LOOP;
END
$$;
