-- What the extension puts into the catalog: comments, privileges, pinned search paths, row-level
-- security, indexes, what a dump takes along, and the list of functions, which is the API.
-- Each query lists violations, and must return no row.

-- Every function, table, view and type of the extension has a comment.
SELECT p.proname AS function_without_comment
  FROM pg_proc p
 WHERE p.pronamespace = 'wallet'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.relname AS relation_without_comment
  FROM pg_class c
 WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'c', 'p')
   AND obj_description(c.oid, 'pg_class') IS NULL
   AND (c.relkind <> 'c' OR obj_description(c.reltype, 'pg_type') IS NULL);
SELECT t.tgname AS trigger_without_comment, t.tgrelid::regclass
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
 WHERE c.relnamespace = 'wallet'::regnamespace AND NOT t.tgisinternal
   AND obj_description(t.oid, 'pg_trigger') IS NULL;
-- Comments are sentences.
SELECT d.description AS comment_without_full_stop
  FROM pg_description d
 WHERE (d.classoid = 'pg_proc'::regclass AND d.objoid IN (SELECT oid FROM pg_proc WHERE pronamespace = 'wallet'::regnamespace)
        OR d.classoid = 'pg_class'::regclass AND d.objoid IN (SELECT oid FROM pg_class WHERE relnamespace = 'wallet'::regnamespace))
   AND d.description !~ '\.$';

-- Every object belongs to the extension, so that DROP EXTENSION leaves nothing.
SELECT p.proname AS function_outside
  FROM pg_proc p
 WHERE p.pronamespace = 'wallet'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');
SELECT c.relname AS relation_outside
  FROM pg_class c
 WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind IN ('r', 'v')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
SELECT c.relname AS sequence FROM pg_class c WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind = 'S';

-- PUBLIC has no privilege.
SELECT p.proname AS executable_by_public
  FROM pg_proc p
 CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 WHERE p.pronamespace = 'wallet'::regnamespace AND a.grantee = 0;
SELECT c.relname AS open_to_public, a.privilege_type
  FROM pg_class c
 CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
 WHERE c.relnamespace = 'wallet'::regnamespace AND a.grantee = 0;
SELECT n.nspname AS schema_open_to_public, a.privilege_type
  FROM pg_namespace n
 CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
 WHERE n.nspname = 'wallet' AND a.grantee = 0;
SELECT t.typname AS type_open_to_public
  FROM pg_type t
 CROSS JOIN LATERAL aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a
 WHERE t.oid IN ('wallet.charge_result'::regtype, 'wallet.fund_result'::regtype, 'wallet.reversal_result'::regtype, 'wallet.price_result'::regtype)
   AND a.grantee = 0;

-- Every function pins its search path. The most frequently called functions do not use a SET
-- clause, which would cost more than the rest of their entry: they pin the path inside while they
-- act as the owner, or run no SQL. A procedure that commits cannot have a SET clause: upkeep()
-- qualifies all its names and operators.
SELECT p.proname AS not_pinned_in_the_catalog
  FROM pg_proc p
 WHERE p.pronamespace = 'wallet'::regnamespace
   AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, wallet, pg_temp'], false)
 ORDER BY 1;
-- No function is SECURITY DEFINER: rights are checked inside first.
SELECT p.proname AS security_definer
  FROM pg_proc p WHERE p.pronamespace = 'wallet'::regnamespace AND p.prosecdef;
-- No function that takes arguments from users is STRICT: a NULL raises an error instead of
-- returning NULL.
SELECT p.proname AS strict
  FROM pg_proc p WHERE p.pronamespace = 'wallet'::regnamespace AND p.proisstrict ORDER BY 1;

-- Views run with the rights of the querying role.
SELECT c.relname AS view_with_owner_rights
  FROM pg_class c
 WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind = 'v'
   AND NOT coalesce(c.reloptions @> ARRAY['security_invoker=true'], false);

-- Every table with wallets has row-level security, also for its owner. All policies are for
-- reading.
SELECT c.relname AS table_without_row_level_security
  FROM pg_class c
 WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind IN ('r', 'p')
   AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'wallet_id' AND NOT a.attisdropped)
   AND NOT (c.relrowsecurity AND c.relforcerowsecurity);
SELECT c.relname, p.polname, p.polcmd, p.polpermissive, p.polroles
  FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
 WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind = 'r'
 ORDER BY 1, 2;

-- Keys begin with wallet_id, so that the tables can be distributed by it.
SELECT con.conrelid::regclass AS table, con.conname AS key_not_by_wallet
  FROM pg_constraint con
 WHERE con.connamespace = 'wallet'::regnamespace AND con.contype IN ('p', 'u', 'f')
   AND con.conrelid NOT IN ('wallet.prices'::regclass, 'wallet.markups'::regclass, 'wallet.usage_mappings'::regclass,
                            'wallet.fx_rates'::regclass, 'wallet.vouchers'::regclass, 'wallet.metric_weights'::regclass,
                            'wallet.retention_rules'::regclass, 'wallet.plan_versions'::regclass)
   AND (SELECT attname FROM pg_attribute WHERE attrelid = con.conrelid AND attnum = con.conkey[1]) <> 'wallet_id';
-- Every foreign key has an index for lookups.
SELECT con.conrelid::regclass AS table, con.conname AS foreign_key_without_index
  FROM pg_constraint con
 WHERE con.connamespace = 'wallet'::regnamespace AND con.contype = 'f'
   AND NOT EXISTS (SELECT FROM pg_index i
                    WHERE i.indrelid = con.conrelid AND i.indpred IS NULL
                      AND (i.indkey::int2[])[0:cardinality(con.conkey) - 1] = con.conkey);

-- A dump contains the rows of every table.
SELECT c.relname AS table_not_dumped
  FROM pg_class c
 WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind = 'r'
   AND c.oid <> ALL (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'wallet');
-- The install script leaves no rows.
SELECT count(*) FROM wallet.wallets UNION ALL SELECT count(*) FROM wallet.prices;

-- The tables and views, and the columns of the views, are a contract.
SELECT c.relname, c.relkind,
       CASE c.relkind WHEN 'v' THEN
           (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)
       END AS columns
  FROM pg_class c
 WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind IN ('r', 'v')
 ORDER BY c.relkind, c.relname;

-- On a large ledger, compiling a statement with JIT takes longer than running it, so functions that
-- read entries turn it off. Immutable functions read no table and are called row by row.
SELECT p.proname
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
 WHERE p.pronamespace = 'wallet'::regnamespace AND l.lanname IN ('sql', 'plpgsql')
   AND p.provolatile <> 'i' AND p.prosrc ~ 'ledger|entries|usage_' AND NOT 'jit=off' = ANY (p.proconfig);

-- The functions are a contract. v volatile, s stable, i immutable; u unsafe, r restricted, s safe
-- for parallel queries.
\pset format unaligned
\pset fieldsep ' | '
SELECT p.proname AS function, p.provolatile AS volatility, p.proparallel AS parallel,
       pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
  FROM pg_proc p
 WHERE p.pronamespace = 'wallet'::regnamespace
 ORDER BY p.proname, 4;
-- The functions that each level may call.
SELECT object_kind AS kind, object, string_agg(level, ', ' ORDER BY array_position('{reader,auditor,charger,billing,worker,admin}', level)) AS levels
  FROM wallet.privileges() GROUP BY 1, 2 ORDER BY 1, 2;
-- Every SQLSTATE, with its name and its meaning.
SELECT * FROM wallet.error_codes();
-- The types that calls return.
SELECT t.typname, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns
  FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
 WHERE t.typnamespace = 'wallet'::regnamespace AND t.typtype = 'c'
   AND (SELECT relkind FROM pg_class WHERE oid = t.typrelid) = 'c'
 GROUP BY 1 ORDER BY 1;
