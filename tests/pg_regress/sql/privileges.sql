-- Who may do what: levels, own and other wallets, membership, SET ROLE, revocation, and a role that
-- tries to bypass it.
SELECT wallet FROM wallet.create_wallet('own');
SELECT wallet FROM wallet.create_wallet('other');
SELECT count(c.entry_id) FROM unnest(ARRAY['own', 'other']) w, wallet.fund(w, 1000) c;
SELECT count(c.entry_id) FROM unnest(ARRAY['own', 'other']) w, wallet.charge(w, amount => 1) c;
SELECT wallet.set_price('pv', 'requests', 1, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT count(wallet.set_limit(w, 500, 'day')) FROM unnest(ARRAY['own', 'other']) w;
CREATE ROLE regress_none;
CREATE ROLE regress_reader;
CREATE ROLE regress_charger;
CREATE ROLE regress_billing;
CREATE ROLE regress_admin;
CREATE ROLE regress_all;
SELECT wallet.grant_access('regress_' || level, level, 'own') FROM unnest(ARRAY['reader', 'charger', 'billing', 'admin']) level;
SELECT wallet.grant_access('regress_all', 'reader');
SELECT db_role, level, wallet_id FROM wallet.access_grants ORDER BY 1;

-- Every function and view, on the role's own wallet and on another, for every level. What a call
-- books is rolled back.
CREATE TABLE regress.attempts (n int GENERATED ALWAYS AS IDENTITY, what text, statement text);
GRANT SELECT ON regress.attempts TO PUBLIC;
INSERT INTO regress.attempts (what, statement) VALUES
    ('price_usage', 'SELECT wallet.price_usage(''{"model":"pv","requests":1}'', wallet => %L)'),
    ('check_limits', 'SELECT wallet.check_limits(%L)'),
    ('usage_headers', 'SELECT wallet.usage_headers(%L, ''00000000-0000-0000-0000-000000000001'')'),
    ('charge', 'SELECT wallet.charge(%L, amount => 1)'),
    ('fund', 'SELECT wallet.fund(%L, 1)'),
    ('update_wallet', 'SELECT wallet.update_wallet(%L, credit_limit => 1)'),
    ('freeze_wallet', 'SELECT wallet.freeze_wallet(%L)'),
    ('unfreeze_wallet', 'SELECT wallet.unfreeze_wallet(%L)'),
    ('close_wallet', 'SELECT wallet.close_wallet(%L)'),
    ('set_lanes', 'SELECT wallet.set_lanes(%L, 2)'),
    ('set_limit', 'SELECT wallet.set_limit(%L, 1, ''month'')'),
    ('grant_access', 'SELECT wallet.grant_access(''regress_none'', ''reader'', %L)'),
    ('revoke_access', 'SELECT wallet.revoke_access(''regress_reader'', ''reader'', %L)'),
    ('insert', 'INSERT INTO wallet.role_grants VALUES (%L, ''regress_none'', ''admin'', now())'),
    ('update', 'UPDATE wallet.allowances SET allotted = 1e9 WHERE wallet_id = %L'),
    ('delete', 'DELETE FROM wallet.limits WHERE wallet_id = %L');
CREATE FUNCTION regress.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE statement;
        RAISE SQLSTATE 'RBACK';
    EXCEPTION WHEN OTHERS THEN
        RETURN CASE SQLSTATE WHEN 'RBACK' THEN 'ok' ELSE SQLSTATE END;
    END;
END
$$;
CREATE FUNCTION regress.rights() RETURNS TABLE (what text, own text, other text) LANGUAGE plpgsql AS $$
DECLARE a record;
BEGIN
    FOR a IN SELECT * FROM regress.attempts ORDER BY n LOOP
        what := a.what;
        own := regress.attempt(format(a.statement, 'own'));
        other := regress.attempt(format(a.statement, 'other'));
        RETURN NEXT;
    END LOOP;
    what := 'set_price'; other := NULL;
    own := regress.attempt($a$ SELECT wallet.set_price('pv', 'requests', 2) $a$); RETURN NEXT;
    what := 'create_wallet';
    own := regress.attempt($a$ SELECT wallet.create_wallet('pv_new') $a$); RETURN NEXT;
    what := 'grant_access *';
    own := regress.attempt($a$ SELECT wallet.grant_access('regress_none', 'admin') $a$); RETURN NEXT;
    what := 'apply_privileges';
    own := regress.attempt($a$ SELECT wallet.apply_privileges('regress_none') $a$); RETURN NEXT;
    what := 'error_codes';
    own := regress.attempt($a$ SELECT wallet.error_codes() $a$); RETURN NEXT;
END
$$;
-- The rows of each relation that the current role sees, of its wallet and of others.
CREATE FUNCTION regress.sees() RETURNS TABLE (relation text, own text, others text) LANGUAGE plpgsql AS $$
DECLARE key text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['balances', 'entries', 'fundings', 'events', 'wallets', 'allowances', 'thresholds', 'requests',
                                    'ledger', 'funding_requests', 'outbox', 'limits', 'access_grants'] LOOP
        key := CASE WHEN relation IN ('balances', 'entries', 'fundings', 'events') THEN 'wallet' ELSE 'wallet_id' END;
        BEGIN
            EXECUTE format('SELECT (count(*) FILTER (WHERE %1$I = ''own'') > 0)::text, (count(*) FILTER (WHERE %1$I <> ''own'') > 0)::text FROM wallet.%2$I', key, relation)
               INTO own, others;
        EXCEPTION WHEN OTHERS THEN
            own := SQLSTATE; others := SQLSTATE;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;
SET ROLE regress_none;
SELECT * FROM regress.rights();
SELECT * FROM regress.sees();
SET ROLE regress_reader;
SELECT * FROM regress.rights();
SELECT * FROM regress.sees();
SET ROLE regress_charger;
SELECT * FROM regress.rights();
SELECT * FROM regress.sees();
SET ROLE regress_billing;
SELECT * FROM regress.rights();
SET ROLE regress_admin;
SELECT * FROM regress.rights();
SELECT * FROM regress.sees();
SET ROLE regress_all;
SELECT what, own, other FROM regress.rights() WHERE what IN ('price_usage', 'check_limits', 'charge', 'fund');
SELECT * FROM regress.sees();
-- What a refused role sees.
SET ROLE regress_reader;
SELECT regress.outcome($$ SELECT * FROM wallet.check_limits('other') $$);
SELECT regress.outcome($$ SELECT * FROM wallet.check_limits('pv_nobody') $$);
CALL regress.fails($$ SELECT wallet.charge('own', amount => 1) $$);
SET ROLE regress_charger;
SELECT regress.outcome($$ SELECT wallet.charge('other', amount => 1) $$);
SET ROLE regress_admin;
SELECT regress.outcome($$ SELECT wallet.set_price('pv', 'requests', 2) $$);
-- A price without a wallet needs a grant on any wallet.
SET ROLE regress_reader;
SELECT cost, currency FROM wallet.price_usage('{"model":"pv","requests":2}');
RESET ROLE;

-- Members have the rights of their roles. A NOINHERIT member must SET ROLE first.
CREATE ROLE regress_member IN ROLE regress_charger;
CREATE ROLE regress_shy NOINHERIT IN ROLE regress_charger;
SET ROLE regress_member;
SELECT cost FROM wallet.charge('own', amount => 1);
SELECT wallet FROM wallet.balances;
SELECT regress.outcome($$ SELECT wallet.charge('other', amount => 1) $$), regress.outcome($$ SELECT wallet.fund('own', 1) $$);
SET SESSION AUTHORIZATION regress_shy;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$);
SET ROLE regress_charger;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$);
RESET ROLE;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$);
RESET SESSION AUTHORIZATION;

-- In one session: a right applies as soon as it is granted and ends as soon as it is revoked.
SET ROLE regress_reader;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$);
RESET ROLE;
SELECT wallet.grant_access('regress_reader', 'charger', 'own');
SET ROLE regress_reader;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$), regress.outcome($$ SELECT wallet.charge('other', amount => 1) $$);
RESET ROLE;
SELECT wallet.grant_access('regress_reader', 'charger', 'other');
SET ROLE regress_reader;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$), regress.outcome($$ SELECT wallet.charge('other', amount => 1) $$);
RESET ROLE;
-- The role still has the privilege on the function, for the other wallet, but not on this one.
SELECT wallet.revoke_access('regress_reader', 'charger', 'own');
SET ROLE regress_reader;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$), regress.outcome($$ SELECT wallet.charge('other', amount => 1) $$);
RESET ROLE;
SELECT wallet.revoke_access('regress_reader', 'charger', 'other');
SELECT wallet.revoke_access('regress_reader', 'reader', 'own');
SET ROLE regress_reader;
SELECT regress.outcome($$ SELECT wallet.charge('other', amount => 1) $$), regress.outcome($$ SELECT * FROM wallet.balances $$);
RESET ROLE;
SELECT has_schema_privilege('regress_reader', 'wallet', 'USAGE') AS usage;
-- A grant that is rolled back has no effect.
BEGIN;
SELECT wallet.grant_access('regress_reader', 'reader', 'own');
SET LOCAL ROLE regress_reader;
SELECT count(*) FROM wallet.balances;
ROLLBACK;
SET ROLE regress_reader;
SELECT regress.outcome($$ SELECT * FROM wallet.balances $$);
RESET ROLE;

-- Arguments that grant_access and revoke_access refuse.
CALL regress.fails($$ SELECT wallet.grant_access('regress_nobody', 'reader', 'own') $$);
CALL regress.fails($$ SELECT wallet.grant_access('public', 'reader', 'own') $$);
CALL regress.fails($$ SELECT wallet.grant_access('regress_reader', 'king', 'own') $$);
CALL regress.fails($$ SELECT wallet.grant_access('regress_reader', 'reader', 'pv_nobody') $$);
CALL regress.fails($$ SELECT wallet.grant_access(NULL, 'reader') $$);
CALL regress.fails($$ SELECT wallet.revoke_access('regress_reader', 'reader', 'own') $$);

-- A hostile role puts replacements of what the extension uses into a schema of its own, first in
-- search_path, and into its temporary schema. Each of them would reveal itself with the error
-- HACKD.
CREATE ROLE regress_hostile;
SELECT wallet.grant_access('regress_hostile', 'charger', 'own');
SELECT wallet.grant_access('regress_hostile', 'billing', 'own');
CREATE SCHEMA regress_evil AUTHORIZATION regress_hostile;
GRANT TEMPORARY ON DATABASE :DBNAME TO regress_hostile;
SET ROLE regress_hostile;
CREATE FUNCTION regress_evil.text_eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE 'HACKD'; END $$;
CREATE FUNCTION regress_evil.uuid_eq(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE 'HACKD'; END $$;
CREATE FUNCTION regress_evil.numeric_le(numeric, numeric) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE 'HACKD'; END $$;
CREATE FUNCTION regress_evil.numeric_add(numeric, numeric) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE 'HACKD'; END $$;
CREATE FUNCTION regress_evil.int_add(bigint, int) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE 'HACKD'; END $$;
CREATE FUNCTION regress_evil.sum(numeric) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE 'HACKD'; END $$;
CREATE FUNCTION regress_evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE 'HACKD'; END $$;
CREATE FUNCTION regress_evil.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE 'HACKD'; END $$;
CREATE FUNCTION regress_evil.min_scale(numeric) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE 'HACKD'; END $$;
CREATE OPERATOR regress_evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_evil.text_eq);
CREATE OPERATOR regress_evil.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = regress_evil.uuid_eq);
CREATE OPERATOR regress_evil.<= (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = regress_evil.numeric_le);
CREATE OPERATOR regress_evil.+ (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = regress_evil.numeric_add);
CREATE OPERATOR regress_evil.+ (LEFTARG = bigint, RIGHTARG = int, FUNCTION = regress_evil.int_add);
CREATE TABLE regress_evil.wallets (wallet_id text, currency text, credit_limit numeric, status text);
CREATE TABLE regress_evil.allowances (wallet_id text);
CREATE TABLE regress_evil.role_grants (wallet_id text, role regrole, level text);
INSERT INTO regress_evil.role_grants VALUES ('*', 'regress_hostile', 'admin');
CREATE TEMPORARY TABLE role_grants AS SELECT * FROM regress_evil.role_grants;
CREATE TEMPORARY TABLE wallets (wallet_id text);
SET search_path = regress_evil, pg_temp, wallet, pg_catalog;
SET client_min_messages = warning;
SELECT cost, balance > 900 AS balance FROM wallet.charge('own', amount => 1);
SELECT cost FROM wallet.charge('own', '{"model":"pv","requests":1}', user_id => 'h', idempotency_key => 'hostile');
SELECT cost, replayed FROM wallet.charge('own', '{"model":"pv","requests":1}', user_id => 'h', idempotency_key => 'hostile');
SELECT cost FROM wallet.settle('own', (SELECT hold_id FROM wallet.hold('own', usage => '{"model":"pv","requests":1}', user_id => 'h')), amount => 1);
SET wallet.storage = spi;
SELECT cost FROM wallet.settle('own', (SELECT hold_id FROM wallet.hold('own', amount => 1, idempotency_key => 'hostile')), amount => 1);
RESET wallet.storage;
SELECT amount FROM wallet.fund('own', 1, reference => 'hostile');
SELECT cost FROM wallet.price_usage('{"model":"pv","requests":1}', wallet => 'own');
SELECT scope, allowed FROM wallet.check_limits('own');
SELECT wallet FROM wallet.balances;
SELECT count(*) OPERATOR(pg_catalog.>) 0 AS entries FROM wallet.entries;
SELECT regress.outcome($$ SELECT wallet.charge('other', amount => 1) $$), regress.outcome($$ SELECT wallet.fund('other', 1) $$),
       regress.outcome($$ SELECT wallet.set_lanes('own', 2) $$);
RESET search_path;
RESET client_min_messages;
-- A function or operator in a query of the role runs with the rights of the role, and sees its
-- wallet.
CREATE FUNCTION regress_evil.spy(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
SELECT wallet_id FROM wallet.wallets WHERE regress_evil.spy(wallet_id);
SELECT wallet FROM wallet.balances WHERE regress_evil.spy(wallet);
RESET ROLE;
-- Nor does a superuser who is tricked into the role's search_path run any of them.
SET search_path = regress_evil, wallet, pg_catalog;
SELECT cost FROM wallet.charge('own', amount => 1);
SELECT cost FROM wallet.settle('own', (SELECT hold_id FROM wallet.hold('own', amount => 1)), amount => 1);
SELECT lanes FROM wallet.set_lanes('own', 2);
SELECT wallet.set_limit('own', 400, 'day', idempotency_key => 'hostile') IS NOT NULL AS set;
SELECT wallet.grant_access('regress_none', 'reader', 'own');
SELECT wallet.revoke_access('regress_none', 'reader', 'own');
RESET search_path;
DROP TABLE pg_temp.role_grants, pg_temp.wallets;
SELECT * FROM regress.broken('own') UNION ALL SELECT * FROM regress.broken('other');

-- A right belongs to the role and not to its name: it remains when the role is renamed, and another
-- role that gets the old name has none. The view shows the current names.
CREATE ROLE "regress Odd ""name""";
SELECT wallet.grant_access('regress Odd "name"', 'charger', 'own');
SET ROLE "regress Odd ""name""";
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$);
RESET ROLE;
ALTER ROLE "regress Odd ""name""" RENAME TO regress_renamed;
CREATE ROLE "regress Odd ""name""";
SELECT db_role, level, wallet_id FROM wallet.access_grants WHERE db_role IN ('regress_renamed', 'regress Odd "name"');
SET ROLE regress_renamed;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$), regress.outcome($$ SELECT wallet.charge('other', amount => 1) $$);
SET ROLE "regress Odd ""name""";
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$);
RESET ROLE;
SELECT wallet.grant_access('regress_renamed', 'billing', 'own');
SELECT wallet.revoke_access('regress_renamed', 'charger', 'own');
SET ROLE regress_renamed;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$), regress.outcome($$ SELECT wallet.fund('own', 1) $$);
-- The statement that a refused role is shown can be run.
CALL regress.fails($$ SELECT * FROM wallet.check_limits('it''s \ other') $$);
RESET ROLE;
CALL regress.fails($$ SELECT wallet.revoke_access('regress Odd "name"', 'charger', 'own') $$);
SELECT wallet.revoke_access('regress_renamed', 'billing', 'own');
DROP ROLE regress_renamed, "regress Odd ""name""";

-- DROP OWNED takes away what a role owns and its privileges, but no membership: the grants remain.
SET client_min_messages = warning;
DROP SCHEMA regress_evil CASCADE;
RESET client_min_messages;
DROP OWNED BY regress_hostile;
SET ROLE regress_hostile;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$), regress.outcome($$ SELECT wallet.charge('other', amount => 1) $$);
RESET ROLE;
-- The rights of a role end when it is dropped. Its rows remain until upkeep deletes them.
DROP ROLE regress_hostile;
SELECT count(*) FROM wallet.access_grants WHERE db_role LIKE '%hostile%';
CALL regress.fails($$ SELECT wallet.revoke_access('regress_hostile', 'charger', 'own') $$);
SELECT count(*) FROM wallet.role_grants g WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = g.role);
SELECT FROM wallet.prune_windows();
SELECT count(*) FROM wallet.role_grants g WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = g.role);
-- The role of a level has all roles with that level as members, so it must get no grant itself. A
-- member of it that has no grant may call the functions, and reaches nothing.
SELECT wallet.grant_access('regress_none', 'admin', 'own');
CALL regress.fails(format($$ SELECT wallet.grant_access(%L, 'reader') $$, wallet.level_role('reader')));
SELECT wallet.revoke_access('regress_none', 'admin', 'own');
DO $$ BEGIN EXECUTE format('GRANT %I TO regress_none', wallet.level_role('admin')); END $$;
SET ROLE regress_none;
SELECT wallet.readable_wallets();
SELECT count(*) FROM wallet.balances;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$), regress.outcome($$ SELECT wallet.set_price('pv', 'requests', 2) $$),
       regress.outcome($$ SELECT wallet.claim_events() $$), regress.outcome($$ SELECT wallet.digest() $$);
RESET ROLE;
DO $$ BEGIN EXECUTE format('REVOKE %I FROM regress_none', wallet.level_role('admin')); END $$;
-- A role that exists under the name of a level's role is not used.
DO $$ BEGIN EXECUTE format('CREATE ROLE %I LOGIN', wallet.level_role('auditor')); END $$;
SELECT regress.outcome($$ SELECT wallet.grant_access('regress_none', 'auditor', 'own') $$);
DO $$ BEGIN EXECUTE format('DROP ROLE %I', wallet.level_role('auditor')); END $$;
SELECT regress.outcome($$ SELECT wallet.grant_access('regress_none', 'auditor', 'own') $$);
SELECT wallet.revoke_access('regress_none', 'auditor', 'own');
-- An owner that may not create roles gives each role the privileges itself; so does PostgreSQL 15
-- for a role with NOINHERIT.
CREATE ROLE regress_itself NOINHERIT;
SELECT wallet.grant_access('regress_itself', 'charger', 'own');
SET ROLE regress_itself;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$), regress.outcome($$ SELECT wallet.charge('other', amount => 1) $$);
RESET ROLE;
SELECT wallet.revoke_access('regress_itself', 'charger', 'own');
SET ROLE regress_itself;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$);
RESET ROLE;
-- A role that changes the kind keeps nothing of the other one.
CREATE FUNCTION regress.kinds() RETURNS TABLE (memberships bigint, own_privileges bigint, charge text) LANGUAGE sql VOLATILE AS $$
    SELECT (SELECT count(*) FROM pg_auth_members m WHERE m.member = 'regress_itself'::regrole),
           (SELECT count(*) FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'wallet' AND a.grantee = 'regress_itself'::regrole)
             + (SELECT count(*) FROM pg_proc p, aclexplode(p.proacl) a WHERE p.pronamespace = 'wallet'::regnamespace AND a.grantee = 'regress_itself'::regrole)
             + (SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'wallet'::regnamespace AND a.grantee = 'regress_itself'::regrole),
           regress.outcome($c$ SELECT wallet.charge('own', amount => 1) $c$)
$$;
SELECT wallet.set_privileges('regress_itself', '{charger}');
ALTER ROLE regress_itself INHERIT;
SELECT wallet.grant_access('regress_itself', 'reader', 'own');
SELECT memberships, own_privileges FROM regress.kinds();
SET ROLE regress_itself;
SELECT regress.outcome($$ SELECT wallet.charge('own', amount => 1) $$), regress.outcome($$ SELECT * FROM wallet.balances $$);
RESET ROLE;
DO $$
DECLARE kinds record;
BEGIN
    ALTER ROLE regress_itself NOINHERIT;
    PERFORM wallet.grant_access('regress_itself', 'charger', 'own');
    SELECT * INTO kinds FROM regress.kinds();
    IF (kinds.memberships = 0) <> (current_setting('server_version_num')::integer < 160000)
       OR (kinds.own_privileges = 0) <> (kinds.memberships > 0) THEN
        RAISE EXCEPTION 'both kinds: %', kinds;
    END IF;
    PERFORM wallet.revoke_access('regress_itself', 'charger', 'own'), wallet.revoke_access('regress_itself', 'reader', 'own');
    SELECT * INTO kinds FROM regress.kinds();
    IF kinds.memberships + kinds.own_privileges > 0 THEN RAISE EXCEPTION 'left over: %', kinds; END IF;
END
$$;
DROP FUNCTION regress.kinds();
DROP ROLE regress_itself;
SELECT wallet.revoke_access('regress_' || level, level, 'own') FROM unnest(ARRAY['charger', 'billing', 'admin']) level;
SELECT wallet.revoke_access('regress_all', 'reader');
SELECT * FROM wallet.access_grants;
DROP ROLE regress_none, regress_reader, regress_charger, regress_billing, regress_admin, regress_all,
    regress_member, regress_shy;
