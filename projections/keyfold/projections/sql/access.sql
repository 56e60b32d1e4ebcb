-- name: roles
SELECT rolname::text FROM pg_roles WHERE rolname = ANY(%(names)s::text[]);

-- name: views
SELECT relname::text FROM pg_class WHERE relkind = 'v' AND relnamespace = 'keyfold'::regnamespace ORDER BY relname;

-- name: database
SELECT quote_ident(current_database());

-- name: migrated
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'keyfold_alerts');

-- name: make_role
-- Two administrators may do this at once, for databases of one server.
DO $$
BEGIN
    CREATE ROLE :role LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

-- name: set_password
ALTER ROLE :role PASSWORD ':verifier';

-- name: nobody_else
REVOKE ALL ON DATABASE :database FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- name: hand_over
-- What one role had made alone goes to the roles that own it from now on; what is so already stays as it is.
DO $$
DECLARE each record;
BEGIN
    FOR each IN
        SELECT format('ALTER SCHEMA %I OWNER TO %I', n.nspname, o.owner) AS statement
        FROM pg_namespace n
        JOIN (VALUES ('keyfold', 'keyfold_owner'), ('keyfold_alerts', 'keyfold_owner'),
            ('keyfold_blue', 'keyfold_projector'), ('keyfold_green', 'keyfold_projector')) AS o (name, owner)
            ON o.name = n.nspname
        WHERE pg_get_userbyid(n.nspowner) <> o.owner
        UNION ALL
        SELECT format('ALTER TABLE %I.%I OWNER TO %I', n.nspname, c.relname, o.owner)
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace,
        LATERAL (SELECT CASE
            WHEN n.nspname IN ('keyfold_blue', 'keyfold_green') OR n.nspname = 'keyfold' AND c.relkind = 'v'
            THEN 'keyfold_projector' ELSE 'keyfold_owner' END AS owner) o
        WHERE n.nspname IN ('keyfold', 'keyfold_alerts', 'keyfold_blue', 'keyfold_green')
          AND c.relkind IN ('r', 'p', 'v') AND pg_get_userbyid(c.relowner) <> o.owner
        UNION ALL
        SELECT format('ALTER FUNCTION %s OWNER TO %I', p.oid::regprocedure, o.owner)
        FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace,
        LATERAL (SELECT CASE WHEN n.nspname <> 'keyfold' OR p.proname = 'keys_not_rotated'
            THEN 'keyfold_projector' ELSE 'keyfold_owner' END AS owner) o
        WHERE n.nspname IN ('keyfold', 'keyfold_blue', 'keyfold_green') AND pg_get_userbyid(p.proowner) <> o.owner
    LOOP
        EXECUTE each.statement;
    END LOOP;
END
$$;
