CREATE FUNCTION wallet.refuse_overdraft() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, wallet, pg_temp
    AS 'MODULE_PATHNAME', 'refuse_overdraft_wrapper';
CREATE FUNCTION wallet.refuse_change() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, wallet, pg_temp
    AS 'MODULE_PATHNAME', 'refuse_change_wrapper';
CREATE FUNCTION wallet.announce_change() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, wallet, pg_temp
    AS 'MODULE_PATHNAME', 'announce_change_wrapper';
-- An entry may be deleted from the ledger only if the archive has an identical copy where readers
-- look for it: not after the position carried forward, and in a wallet that is marked as archived.
-- All rows of a statement are checked at once.
CREATE FUNCTION wallet.refuse_loss() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
DECLARE
    lost uuid;
BEGIN
    SELECT g.entry_id INTO lost
      FROM gone g
      LEFT JOIN wallet.ledger_archive a ON a.wallet_id = g.wallet_id AND a.entry_id = g.entry_id
      LEFT JOIN wallet.wallets w ON w.wallet_id = g.wallet_id
      LEFT JOIN (SELECT c.wallet_id, c.lane, max(c.seq) AS seq FROM wallet.carried_forward c GROUP BY 1, 2) c
        ON c.wallet_id = g.wallet_id AND c.lane = g.lane
     WHERE a.entry_id IS NULL OR g *<> a OR w.archived IS NOT TRUE OR c.seq IS NULL OR c.seq < g.seq
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'WL010',
            MESSAGE = 'ledger entries cannot be changed or deleted',
            DETAIL = format('The entry is %s.', lost),
            HINT = 'Book a correction: a new entry that takes back what the old one did. archive() moves old entries out of the ledger.',
            SCHEMA = 'wallet', TABLE = 'ledger', CONSTRAINT = 'ledger_is_immutable';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION wallet.refuse_loss IS 'Trigger: refuses to delete a ledger entry unless the archive has an identical copy.';
COMMENT ON FUNCTION wallet.refuse_overdraft IS 'Trigger: refuses an overdrawn allowance, whoever writes it.';
COMMENT ON FUNCTION wallet.refuse_change IS 'Trigger: refuses every change of the ledger, its archive and the audit trail that is not made by an erasure or by retention. With an argument, it refuses these too.';
COMMENT ON FUNCTION wallet.announce_change IS 'Trigger: makes every backend discard its cache of the table.';

-- Rules enforced at the tables, for every code path and every role that can write. They only
-- validate or refuse. A dump can therefore be restored in any order, and no side effect happens
-- twice.
CREATE TRIGGER refuse_overdraft_on_insert
    BEFORE INSERT ON wallet.allowances
    FOR EACH ROW WHEN (NEW.spent + NEW.held > NEW.allotted)
    EXECUTE FUNCTION wallet.refuse_overdraft();
CREATE TRIGGER refuse_overdraft_on_update
    BEFORE UPDATE ON wallet.allowances
    FOR EACH ROW WHEN (NEW.spent + NEW.held > NEW.allotted)
    EXECUTE FUNCTION wallet.refuse_overdraft();
COMMENT ON TRIGGER refuse_overdraft_on_insert ON wallet.allowances IS 'WL001 for a balance, WL002 for a limit. Costs nothing unless the row violates the rule.';
COMMENT ON TRIGGER refuse_overdraft_on_update ON wallet.allowances IS 'WL001 for a balance, WL002 for a limit. Costs nothing unless the row violates the rule.';

CREATE TRIGGER refuse_change
    BEFORE UPDATE ON wallet.ledger
    FOR EACH ROW EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER refuse_loss
    AFTER DELETE ON wallet.ledger REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_loss();
CREATE TRIGGER refuse_truncate
    BEFORE TRUNCATE ON wallet.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();
COMMENT ON TRIGGER refuse_change ON wallet.ledger IS 'WL010: entries are never updated.';
COMMENT ON TRIGGER refuse_loss ON wallet.ledger IS 'WL010: entries are never deleted; archive() moves them.';
COMMENT ON TRIGGER refuse_truncate ON wallet.ledger IS 'WL010: entries are never updated and never deleted.';

CREATE TRIGGER refuse_change
    BEFORE UPDATE OR DELETE ON wallet.ledger_archive
    FOR EACH ROW EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER refuse_truncate
    BEFORE TRUNCATE ON wallet.ledger_archive
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER refuse_change
    BEFORE UPDATE OR DELETE ON wallet.carried_forward
    FOR EACH ROW EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER refuse_truncate
    BEFORE TRUNCATE ON wallet.carried_forward
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();
COMMENT ON TRIGGER refuse_change ON wallet.ledger_archive IS 'WL010: entries are never updated and never deleted.';
COMMENT ON TRIGGER refuse_truncate ON wallet.ledger_archive IS 'WL010: entries are never updated and never deleted.';
COMMENT ON TRIGGER refuse_change ON wallet.carried_forward IS 'WL010: carried forward amounts are never updated and never deleted.';
COMMENT ON TRIGGER refuse_truncate ON wallet.carried_forward IS 'WL010: carried forward amounts are never updated and never deleted.';

-- An erasure passes refuse_change, and these triggers check what it does: amounts, times, keys and
-- hashes stay, and so do the digests that the hashes cover.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['ledger', 'ledger_archive'] LOOP
        EXECUTE format(
            'CREATE TRIGGER refuse_other_change
                 BEFORE UPDATE ON wallet.%I
                 FOR EACH ROW WHEN (
                     ROW(OLD.entry_id, OLD.created_at, OLD.event_at, OLD.seq, OLD.related_id, OLD.key_id, OLD.lane,
                         OLD.kind, OLD.call, OLD.wallet_id, OLD.amount, OLD.lane_balance, OLD.balance, OLD.hash,
                         OLD.idempotency_key, OLD.team, OLD.provider, OLD.model, OLD.service, OLD.region,
                         OLD.service_tier, OLD.lines, OLD.contra, OLD.reference, OLD.used_at)
                     IS DISTINCT FROM
                     ROW(NEW.entry_id, NEW.created_at, NEW.event_at, NEW.seq, NEW.related_id, NEW.key_id, NEW.lane,
                         NEW.kind, NEW.call, NEW.wallet_id, NEW.amount, NEW.lane_balance, NEW.balance, NEW.hash,
                         NEW.idempotency_key, NEW.team, NEW.provider, NEW.model, NEW.service, NEW.region,
                         NEW.service_tier, NEW.lines, NEW.contra, NEW.reference, NEW.used_at)
                     OR wallet.person_digest(OLD.person_proof, OLD.user_id, OLD.actor, OLD.fingerprint)
                        IS DISTINCT FROM wallet.person_digest(NEW.person_proof, NEW.user_id, NEW.actor, NEW.fingerprint)
                     OR wallet.payload_digest(OLD.payload_proof, OLD.usage, OLD.tags, OLD.metadata, OLD.reference, OLD.reason)
                        IS DISTINCT FROM wallet.payload_digest(NEW.payload_proof, NEW.usage, NEW.tags, NEW.metadata, NEW.reference, NEW.reason))
                 EXECUTE FUNCTION wallet.refuse_change(''always'')', name);
        EXECUTE format('COMMENT ON TRIGGER refuse_other_change ON wallet.%I IS ''WL010: an erasure changes only fields that may be erased, and no digest that the hash covers.''', name);
    END LOOP;
END
$$;
CREATE TRIGGER refuse_other_change
    BEFORE UPDATE ON wallet.carried_forward
    FOR EACH ROW WHEN (
        ROW(OLD.wallet_id, OLD.archive_id, OLD.lane, OLD.seq, OLD.amount, OLD.hash, OLD.archived_at)
        IS DISTINCT FROM
        ROW(NEW.wallet_id, NEW.archive_id, NEW.lane, NEW.seq, NEW.amount, NEW.hash, NEW.archived_at))
    EXECUTE FUNCTION wallet.refuse_change('always');
COMMENT ON TRIGGER refuse_other_change ON wallet.carried_forward IS 'WL010: an erasure changes only the actor.';

CREATE TRIGGER announce_change
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON wallet.prices
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.announce_change();
CREATE TRIGGER announce_change
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON wallet.markups
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.announce_change();
CREATE TRIGGER announce_change
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON wallet.fx_rates
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.announce_change();
CREATE TRIGGER announce_change
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON wallet.usage_mappings
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.announce_change();
CREATE TRIGGER announce_change
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON wallet.role_grants
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.announce_change();
COMMENT ON TRIGGER announce_change ON wallet.prices IS 'Makes every backend discard its price cache when the change commits.';
COMMENT ON TRIGGER announce_change ON wallet.markups IS 'Makes every backend discard its price cache when the change commits.';
COMMENT ON TRIGGER announce_change ON wallet.fx_rates IS 'Makes every backend discard its cached exchange rates when the change commits.';
COMMENT ON TRIGGER announce_change ON wallet.usage_mappings IS 'Makes every backend read the mappings again when the change commits.';
COMMENT ON TRIGGER announce_change ON wallet.role_grants IS 'Makes every backend discard its cached access checks when the change commits.';

-- On the subscriber of a logical replication, rows arrive without firing the triggers above.
-- Statement-level triggers fire there only for the initial copy and for TRUNCATE, and only if they
-- are enabled ALWAYS. Row-level triggers that are enabled as REPLICA fire there and nowhere else.
ALTER TABLE wallet.prices ENABLE ALWAYS TRIGGER announce_change;
ALTER TABLE wallet.markups ENABLE ALWAYS TRIGGER announce_change;
ALTER TABLE wallet.fx_rates ENABLE ALWAYS TRIGGER announce_change;
ALTER TABLE wallet.usage_mappings ENABLE ALWAYS TRIGGER announce_change;
ALTER TABLE wallet.role_grants ENABLE ALWAYS TRIGGER announce_change;
CREATE TRIGGER announce_replicated
    AFTER INSERT OR UPDATE OR DELETE ON wallet.prices
    FOR EACH ROW EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.prices ENABLE REPLICA TRIGGER announce_replicated;
CREATE TRIGGER announce_replicated
    AFTER INSERT OR UPDATE OR DELETE ON wallet.markups
    FOR EACH ROW EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.markups ENABLE REPLICA TRIGGER announce_replicated;
CREATE TRIGGER announce_replicated
    AFTER INSERT OR UPDATE OR DELETE ON wallet.fx_rates
    FOR EACH ROW EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.fx_rates ENABLE REPLICA TRIGGER announce_replicated;
CREATE TRIGGER announce_replicated
    AFTER INSERT OR UPDATE OR DELETE ON wallet.usage_mappings
    FOR EACH ROW EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.usage_mappings ENABLE REPLICA TRIGGER announce_replicated;
CREATE TRIGGER announce_replicated
    AFTER INSERT OR UPDATE OR DELETE ON wallet.role_grants
    FOR EACH ROW EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.role_grants ENABLE REPLICA TRIGGER announce_replicated;
-- Only default limits are cached apart from their wallet. The limits of a wallet have the epoch of
-- its lanes.
CREATE TRIGGER announce_default
    AFTER INSERT OR UPDATE ON wallet.limits
    FOR EACH ROW WHEN (NEW.wallet_id = '*')
    EXECUTE FUNCTION wallet.announce_change();
CREATE TRIGGER announce_default_gone
    AFTER DELETE ON wallet.limits
    FOR EACH ROW WHEN (OLD.wallet_id = '*')
    EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.limits ENABLE ALWAYS TRIGGER announce_default;
ALTER TABLE wallet.limits ENABLE ALWAYS TRIGGER announce_default_gone;
COMMENT ON TRIGGER announce_default ON wallet.limits IS 'Makes every backend read the default limits again when the change commits.';
COMMENT ON TRIGGER announce_default_gone ON wallet.limits IS 'Makes every backend read the default limits again when the change commits.';
COMMENT ON TRIGGER announce_replicated ON wallet.prices IS 'Like announce_change, for rows that arrive through logical replication.';
COMMENT ON TRIGGER announce_replicated ON wallet.markups IS 'Like announce_change, for rows that arrive through logical replication.';
COMMENT ON TRIGGER announce_replicated ON wallet.fx_rates IS 'Like announce_change, for rows that arrive through logical replication.';
COMMENT ON TRIGGER announce_replicated ON wallet.usage_mappings IS 'Like announce_change, for rows that arrive through logical replication.';
COMMENT ON TRIGGER announce_replicated ON wallet.role_grants IS 'Like announce_change, for rows that arrive through logical replication.';
