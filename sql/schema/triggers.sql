CREATE FUNCTION wallet.refuse_overdraft() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, wallet, pg_temp
    AS 'MODULE_PATHNAME', 'refuse_overdraft_wrapper';
CREATE FUNCTION wallet.refuse_change() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, wallet, pg_temp
    AS 'MODULE_PATHNAME', 'refuse_change_wrapper';
CREATE FUNCTION wallet.announce_change() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, wallet, pg_temp
    AS 'MODULE_PATHNAME', 'announce_change_wrapper';
COMMENT ON FUNCTION wallet.refuse_overdraft IS 'Trigger: refuses an allowance that would be overdrawn, whoever writes it.';
COMMENT ON FUNCTION wallet.refuse_change IS 'Trigger: refuses every change of the ledger.';
COMMENT ON FUNCTION wallet.announce_change IS 'Trigger: has every backend drop what it cached of the table.';

-- Rules at the table, for any path and any role that can write. They only validate or refuse: a
-- dump restores through them in any order, and nothing happens twice.
CREATE TRIGGER refuse_overdraft_on_insert
    BEFORE INSERT ON wallet.allowances
    FOR EACH ROW WHEN (NEW.spent + NEW.held > NEW.allotted)
    EXECUTE FUNCTION wallet.refuse_overdraft();
CREATE TRIGGER refuse_overdraft_on_update
    BEFORE UPDATE ON wallet.allowances
    FOR EACH ROW WHEN (NEW.spent + NEW.held > NEW.allotted)
    EXECUTE FUNCTION wallet.refuse_overdraft();
COMMENT ON TRIGGER refuse_overdraft_on_insert ON wallet.allowances IS 'WL001 for a balance, WL002 for a limit; costs nothing where nothing is violated.';
COMMENT ON TRIGGER refuse_overdraft_on_update ON wallet.allowances IS 'WL001 for a balance, WL002 for a limit; costs nothing where nothing is violated.';

CREATE TRIGGER refuse_change
    BEFORE UPDATE OR DELETE ON wallet.ledger
    FOR EACH ROW EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER refuse_truncate
    BEFORE TRUNCATE ON wallet.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();
COMMENT ON TRIGGER refuse_change ON wallet.ledger IS 'WL010: entries are never updated and never deleted.';
COMMENT ON TRIGGER refuse_truncate ON wallet.ledger IS 'WL010: entries are never updated and never deleted.';

CREATE TRIGGER announce_change
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON wallet.prices
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.announce_change();
CREATE TRIGGER announce_change
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON wallet.markups
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.announce_change();
CREATE TRIGGER announce_change
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON wallet.usage_mappings
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.announce_change();
CREATE TRIGGER announce_change
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON wallet.access_grants
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.announce_change();
COMMENT ON TRIGGER announce_change ON wallet.prices IS 'Has every backend drop its price cache when the change commits.';
COMMENT ON TRIGGER announce_change ON wallet.markups IS 'Has every backend drop its price cache when the change commits.';
COMMENT ON TRIGGER announce_change ON wallet.usage_mappings IS 'Has every backend read the mappings again when the change commits.';
COMMENT ON TRIGGER announce_change ON wallet.access_grants IS 'Has every backend forget whom it let in when the change commits.';

-- On the subscriber of a logical replication rows arrive without the triggers above: those of statements
-- fire there for the first copy and TRUNCATE alone, and only where they are enabled ALWAYS. Triggers of rows
-- that are enabled for REPLICA fire there and nowhere else.
ALTER TABLE wallet.prices ENABLE ALWAYS TRIGGER announce_change;
ALTER TABLE wallet.markups ENABLE ALWAYS TRIGGER announce_change;
ALTER TABLE wallet.usage_mappings ENABLE ALWAYS TRIGGER announce_change;
ALTER TABLE wallet.access_grants ENABLE ALWAYS TRIGGER announce_change;
CREATE TRIGGER announce_replicated
    AFTER INSERT OR UPDATE OR DELETE ON wallet.prices
    FOR EACH ROW EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.prices ENABLE REPLICA TRIGGER announce_replicated;
CREATE TRIGGER announce_replicated
    AFTER INSERT OR UPDATE OR DELETE ON wallet.markups
    FOR EACH ROW EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.markups ENABLE REPLICA TRIGGER announce_replicated;
CREATE TRIGGER announce_replicated
    AFTER INSERT OR UPDATE OR DELETE ON wallet.usage_mappings
    FOR EACH ROW EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.usage_mappings ENABLE REPLICA TRIGGER announce_replicated;
CREATE TRIGGER announce_replicated
    AFTER INSERT OR UPDATE OR DELETE ON wallet.access_grants
    FOR EACH ROW EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.access_grants ENABLE REPLICA TRIGGER announce_replicated;
COMMENT ON TRIGGER announce_replicated ON wallet.prices IS 'What announce_change is, for rows that logical replication brings.';
COMMENT ON TRIGGER announce_replicated ON wallet.markups IS 'What announce_change is, for rows that logical replication brings.';
COMMENT ON TRIGGER announce_replicated ON wallet.usage_mappings IS 'What announce_change is, for rows that logical replication brings.';
COMMENT ON TRIGGER announce_replicated ON wallet.access_grants IS 'What announce_change is, for rows that logical replication brings.';
