-- Append-only: a plan changes by a new version.
CREATE TABLE wallet.plan_versions (
    plan            text NOT NULL,
    version         bigint NOT NULL CHECK (version > 0),
    definition      jsonb NOT NULL,
    effective_from  timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    actor           text,
    metadata        jsonb,
    PRIMARY KEY (plan, version)
);
COMMENT ON TABLE wallet.plan_versions IS 'The versions of plans. A wallet takes the version in force over with its next call.';
COMMENT ON COLUMN wallet.plan_versions.definition IS 'The rules of the plan, as set_plan() got them.';
COMMENT ON COLUMN wallet.plan_versions.effective_from IS 'When the version begins. Of several that begin at the same time, the one with the greatest number applies.';

CREATE TRIGGER refuse_change
    BEFORE UPDATE OR DELETE ON wallet.plan_versions
    FOR EACH ROW EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER refuse_truncate
    BEFORE TRUNCATE ON wallet.plan_versions
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER announce_change
    AFTER INSERT ON wallet.plan_versions
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.plan_versions ENABLE ALWAYS TRIGGER announce_change;
CREATE TRIGGER announce_replicated
    AFTER INSERT ON wallet.plan_versions
    FOR EACH ROW EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.plan_versions ENABLE REPLICA TRIGGER announce_replicated;
COMMENT ON TRIGGER refuse_change ON wallet.plan_versions IS 'WL010: versions of plans are never updated and never deleted.';
COMMENT ON TRIGGER refuse_truncate ON wallet.plan_versions IS 'WL010: versions of plans are never updated and never deleted.';
COMMENT ON TRIGGER announce_change ON wallet.plan_versions IS 'Makes every backend read the versions of plans again when the change commits.';
COMMENT ON TRIGGER announce_replicated ON wallet.plan_versions IS 'Like announce_change, for rows that arrive through logical replication.';

-- Without a row, a rule is the wallet's own.
CREATE TABLE wallet.plan_rules (
    wallet_id  text NOT NULL REFERENCES wallet.wallets,
    kind       text NOT NULL CHECK (kind IN ('limit', 'recurring_grant', 'topup_rule', 'model_rule', 'setting', 'own_setting')),
    name       text NOT NULL,
    form       text NOT NULL,
    PRIMARY KEY (wallet_id, kind, name)
);
COMMENT ON TABLE wallet.plan_rules IS 'Which rules of a wallet its plan has set, and which settings a call has set for the wallet alone.';
COMMENT ON COLUMN wallet.plan_rules.kind IS 'The kind of rule. own_setting: the setting is the wallet''s own, and overrides the plan.';
COMMENT ON COLUMN wallet.plan_rules.name IS 'The name of the rule; for a limit its limit_id.';
COMMENT ON COLUMN wallet.plan_rules.form IS 'The values that the plan gave the rule. A version with the same values leaves the rule as it is.';

-- The versions that are in force. One pass over the versions, however many there are.
CREATE VIEW wallet.plans WITH (security_invoker = true) AS
SELECT p.plan, p.version, p.definition, p.effective_from,
       p.version IS NOT DISTINCT FROM first_value(CASE WHEN p.effective_from <= statement_timestamp() THEN p.version END)
           OVER (PARTITION BY p.plan ORDER BY p.effective_from <= statement_timestamp() DESC, p.effective_from DESC, p.version DESC) AS in_force,
       coalesce(w.wallets, 0) AS wallets,
       coalesce(t.wallets, 0) AS taken_over,
       p.created_at, p.actor, p.metadata
  FROM wallet.plan_versions p
  LEFT JOIN (SELECT w.plan, count(*) AS wallets FROM wallet.wallets w WHERE w.plan IS NOT NULL GROUP BY 1) w
    ON w.plan = p.plan
  LEFT JOIN (SELECT w.plan, w.plan_version, count(*) AS wallets FROM wallet.wallets w WHERE w.plan IS NOT NULL GROUP BY 1, 2) t
    ON t.plan = p.plan AND t.plan_version = p.version;
COMMENT ON VIEW wallet.plans IS 'The versions of plans, past and future ones too.';
COMMENT ON COLUMN wallet.plans.in_force IS 'Whether the next call of a wallet on the plan gets the rules of this version.';
COMMENT ON COLUMN wallet.plans.wallets IS 'The number of visible wallets on the plan.';
COMMENT ON COLUMN wallet.plans.taken_over IS 'The number of visible wallets that have taken this version over.';

CREATE FUNCTION wallet.plan_of(wallet text, OUT kind text, OUT name text, OUT rule jsonb, OUT source text, OUT plan text,
                               OUT version bigint, OUT effective_from timestamptz)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    SELECT r.kind, r.name, r.rule::jsonb, r.source, r.plan, r.version, p.effective_from
      FROM wallet.rules_of(plan_of.wallet) r
      LEFT JOIN wallet.plan_versions p ON p.plan = r.plan AND p.version = r.version
$$;
COMMENT ON FUNCTION wallet.plan_of IS 'The rules that apply to a wallet with its next call, and where each comes from: the wallet''s own, its plan, or the default. Errors: 22023, 42501, WL003.';
