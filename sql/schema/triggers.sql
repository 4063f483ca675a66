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
