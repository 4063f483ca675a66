-- Who changed which rule, right, key or price. Written by the functions that make the change.
CREATE TABLE wallet.audit_log (
    wallet_id      text NOT NULL,
    audit_id       uuid NOT NULL,
    at             timestamptz NOT NULL,
    action         text NOT NULL,
    subject        text,
    actor          text,
    db_role        name NOT NULL,
    client_address inet,
    before         jsonb,
    after          jsonb,
    metadata       jsonb,
    PRIMARY KEY (wallet_id, audit_id)
);
CREATE INDEX audit_log_at ON wallet.audit_log (wallet_id, at);
CREATE INDEX audit_log_of_all ON wallet.audit_log (subject) WHERE wallet_id = '*';
COMMENT ON TABLE wallet.audit_log IS 'The audit trail behind the view audit: one row per changed row. Never updated except by an erasure, and deleted only by retention.';
COMMENT ON COLUMN wallet.audit_log.wallet_id IS 'The wallet, or * for changes that affect all wallets, such as a price.';
COMMENT ON COLUMN wallet.audit_log.db_role IS 'The role with which the session logged in.';
COMMENT ON COLUMN wallet.audit_log.before IS 'The row before the change; NULL if the change created it.';
COMMENT ON COLUMN wallet.audit_log.after IS 'The row after the change; NULL if the change dropped it.';

CREATE TRIGGER refuse_change
    BEFORE UPDATE OR DELETE ON wallet.audit_log
    FOR EACH ROW EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER refuse_truncate
    BEFORE TRUNCATE ON wallet.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER refuse_other_change
    BEFORE UPDATE ON wallet.audit_log
    FOR EACH ROW WHEN (
        ROW(OLD.wallet_id, OLD.audit_id, OLD.at, OLD.action, OLD.db_role)
        IS DISTINCT FROM ROW(NEW.wallet_id, NEW.audit_id, NEW.at, NEW.action, NEW.db_role))
    EXECUTE FUNCTION wallet.refuse_change('always');
COMMENT ON TRIGGER refuse_other_change ON wallet.audit_log IS 'WL010: an erasure changes only fields that may name a person.';
COMMENT ON TRIGGER refuse_change ON wallet.audit_log IS 'WL010: the audit trail is updated only by an erasure, and deleted only by retention.';
COMMENT ON TRIGGER refuse_truncate ON wallet.audit_log IS 'WL010: the audit trail is never updated and never deleted.';

CREATE VIEW wallet.audit WITH (security_invoker = true) AS
    SELECT l.wallet_id AS wallet, l.audit_id, l.at, l.action, l.subject, l.actor,
           l.db_role AS "session_user", l.client_address, l.before, l.after, l.metadata
      FROM wallet.audit_log l;
COMMENT ON VIEW wallet.audit IS 'Every change of a rule, a right, a key or a price: who made it, when, and the row before and after.';
COMMENT ON COLUMN wallet.audit.wallet IS 'The wallet, or * for changes that affect all wallets, such as a price.';
COMMENT ON COLUMN wallet.audit.subject IS 'The changed object: the wallet, a limit_id, a user, a key_id, a price_id, and so on.';
