-- What the extension has put into the catalog, one line per fact, without anything that differs
-- between databases. Two databases have the same extension if they have the same lines.
WITH members AS (
    SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS name
      FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'wallet'
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), relations AS (
    SELECT c.*, m.name FROM members m JOIN pg_class c ON c.oid = m.objid WHERE m.classid = 'pg_class'::regclass
), facts (fact) AS (
    SELECT name FROM members
    UNION ALL
    -- Comments on members, their columns, triggers, policies and constraints.
    SELECT format('%s is %s', pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description)
      FROM pg_description d
     WHERE (d.classoid, d.objoid) IN (SELECT classid, objid FROM members)
        OR d.classoid = 'pg_trigger'::regclass AND d.objoid IN (SELECT t.oid FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid)
        OR d.classoid = 'pg_policy'::regclass AND d.objoid IN (SELECT p.oid FROM pg_policy p JOIN relations r ON r.oid = p.polrelid)
        OR d.classoid = 'pg_constraint'::regclass AND d.objoid IN (SELECT c.oid FROM pg_constraint c JOIN relations r ON r.oid = c.conrelid)
    UNION ALL
    SELECT format('%s: %s cost %s rows %s support %s', m.name, pg_get_functiondef(p.oid), p.procost, p.prorows, p.prosupport)
      FROM members m JOIN pg_proc p ON p.oid = m.objid WHERE m.classid = 'pg_proc'::regclass
    UNION ALL
    SELECT format('%s: kind %s, options %s, row security %s forced %s, persistence %s, identity %s', name, relkind, reloptions,
                  relrowsecurity, relforcerowsecurity, relpersistence, relreplident)
      FROM relations
    UNION ALL
    SELECT format('%s: column %s %s %s, not null %s, default %s, storage %s, compression %s, generated %s, statistics %s, options %s', r.name,
                  -- Its position among the existing columns, as SELECT * shows it.
                  row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                  pg_get_expr(d.adbin, d.adrelid), a.attstorage, a.attcompression, a.attgenerated, a.attstattarget,
                  -- Some builds of PostgreSQL store a version number of the column here.
                  (SELECT array_agg(o) FROM unnest(a.attoptions) o WHERE o !~ '^pg_attver='))
      FROM relations r
      JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
    UNION ALL
    SELECT format('%s: constraint %s %s', r.name, c.conname, pg_get_constraintdef(c.oid))
      FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid
    UNION ALL
    SELECT format('%s: %s', r.name, pg_get_indexdef(i.indexrelid)) FROM relations r JOIN pg_index i ON i.indrelid = r.oid
    UNION ALL
    SELECT format('%s: %s, enabled %s', r.name, pg_get_triggerdef(t.oid), t.tgenabled)
      FROM relations r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT format('%s: policy %s for %s, permissive %s, using %s, check %s, roles %s', r.name, p.polname, p.polcmd, p.polpermissive,
                  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), p.polroles)
      FROM relations r JOIN pg_policy p ON p.polrelid = r.oid
    UNION ALL
    SELECT format('%s: %s', r.name, pg_get_viewdef(r.oid)) FROM relations r WHERE r.relkind IN ('v', 'm')
    UNION ALL
    SELECT format('%s: rule %s', r.name, pg_get_ruledef(w.oid)) FROM relations r JOIN pg_rewrite w ON w.ev_class = r.oid
    UNION ALL
    -- The privileges on each, and those that a dump assumes.
    SELECT format('%s: %s', name, (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(acl) a))
      FROM (SELECT m.name, p.proacl AS acl FROM members m JOIN pg_proc p ON p.oid = m.objid WHERE m.classid = 'pg_proc'::regclass
            UNION ALL SELECT name, relacl FROM relations
            UNION ALL SELECT m.name, n.nspacl FROM members m JOIN pg_namespace n ON n.oid = m.objid WHERE m.classid = 'pg_namespace'::regclass
            UNION ALL SELECT m.name, t.typacl FROM members m JOIN pg_type t ON t.oid = m.objid WHERE m.classid = 'pg_type'::regclass) s
    UNION ALL
    SELECT format('%s %s: at first %s', m.name, i.objsubid, (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(i.initprivs) a))
      FROM members m JOIN pg_init_privs i ON i.classoid = m.classid AND i.objoid = m.objid
    UNION ALL
    SELECT format('dumped: %s %s', c.table_id::regclass, c.condition)
      FROM pg_extension e, unnest(e.extconfig, e.extcondition) c (table_id, condition) WHERE e.extname = 'wallet'
    UNION ALL
    SELECT format('version %s of %s, relocatable %s', e.extversion, n.nspname, e.extrelocatable)
      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'wallet'
)
SELECT fact FROM facts ORDER BY fact COLLATE "C"
