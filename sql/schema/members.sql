-- Who may spend from a wallet, in addition to the rights of database roles.
CREATE TABLE wallet.members (
    wallet_id      text NOT NULL REFERENCES wallet.wallets,
    user_id        text NOT NULL,
    role           text NOT NULL CHECK (role IN ('owner', 'admin', 'billing', 'member', 'viewer')),
    team           text,
    allowed_models text[],
    blocked        boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (wallet_id, user_id)
);
COMMENT ON TABLE wallet.members IS 'The members of a wallet: role, team, allowed models.';
COMMENT ON COLUMN wallet.members.team IS 'The member''s team. A charge that names another team is refused.';
COMMENT ON COLUMN wallet.members.allowed_models IS 'Models or patterns that the member may use; NULL means all.';

CREATE TABLE wallet.api_keys (
    wallet_id      text NOT NULL REFERENCES wallet.wallets,
    key_id         uuid NOT NULL,
    user_id        text,
    name           text,
    secret_hash    bytea NOT NULL,
    previous_hash  bytea,
    previous_until timestamptz,
    expires_at     timestamptz,
    revoked_at     timestamptz,
    allowed_models text[],
    allowed_ips    cidr[],
    devices        text[],
    created_at     timestamptz NOT NULL,
    rotated_at     timestamptz,
    PRIMARY KEY (wallet_id, key_id)
);
-- A call passes only the secret, which identifies the key. The index is on the hash alone, because
-- a secret belongs to one wallet.
CREATE UNIQUE INDEX api_keys_secret ON wallet.api_keys (secret_hash);
CREATE UNIQUE INDEX api_keys_previous ON wallet.api_keys (previous_hash) WHERE previous_hash IS NOT NULL;
COMMENT ON TABLE wallet.api_keys IS 'Keys with which programs spend. A secret is shown once; only its SHA-256 is stored.';
COMMENT ON COLUMN wallet.api_keys.user_id IS 'The owner of the key. Charges with the key are attributed to this user.';
COMMENT ON COLUMN wallet.api_keys.secret_hash IS 'SHA-256 of the secret.';
COMMENT ON COLUMN wallet.api_keys.previous_hash IS 'SHA-256 of the secret before the last rotation, valid until previous_until.';

CREATE TABLE wallet.origin_rules (
    wallet_id  text PRIMARY KEY REFERENCES wallet.wallets,
    cidrs      cidr[],
    devices    text[]
);
COMMENT ON TABLE wallet.origin_rules IS 'The networks and devices from which a wallet may be used; NULL means all.';

CREATE TABLE wallet.model_rules (
    wallet_id  text NOT NULL REFERENCES wallet.wallets,
    scope      text NOT NULL CHECK (scope IN ('wallet', 'team', 'user')),
    subject    text NOT NULL,
    allowed    text[],
    blocked    text[],
    created_at timestamptz NOT NULL,
    PRIMARY KEY (wallet_id, scope, subject)
);
COMMENT ON TABLE wallet.model_rules IS 'Which models a wallet, a team or a user may use: names, or patterns such as gpt-4*.';
COMMENT ON COLUMN wallet.model_rules.subject IS 'The team or user; * means each one that has no rule of its own.';

CREATE VIEW wallet.keys WITH (security_invoker = true) AS
    SELECT k.wallet_id AS wallet, k.key_id, k.user_id, k.name,
           CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                WHEN k.expires_at <= statement_timestamp() THEN 'expired'
                ELSE 'active' END AS status,
           k.expires_at, k.revoked_at, k.rotated_at, k.previous_until,
           k.allowed_models, k.allowed_ips, k.devices, k.created_at
      FROM wallet.api_keys k;
COMMENT ON VIEW wallet.keys IS 'The keys of wallets, without their secrets and hashes.';

CREATE FUNCTION wallet.create_key(
    wallet text,
    user_id text DEFAULT NULL,
    name text DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL,
    allowed_models text[] DEFAULT NULL,
    allowed_ips cidr[] DEFAULT NULL,
    devices text[] DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    actor text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    OUT key_id uuid,
    OUT secret text,
    OUT replayed boolean
) RETURNS record
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    SELECT * FROM wallet.write_key(wallet, user_id, name, expires_at, allowed_models, allowed_ips::text[],
                                   devices, idempotency_key, actor, metadata)
$$;
COMMENT ON FUNCTION wallet.create_key IS 'Creates a key and returns its secret. The secret is shown only once, because only its SHA-256 is stored; a replay returns no secret. Errors: 22023, 42501, WL009, WL003, WL006, WL004.';

CREATE FUNCTION wallet.set_ip_rules(
    wallet text,
    cidrs cidr[],
    idempotency_key text DEFAULT NULL,
    actor text DEFAULT NULL,
    metadata jsonb DEFAULT NULL
) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    SELECT wallet.write_ip_rules(wallet, cidrs::text[], idempotency_key, actor, metadata)
$$;
COMMENT ON FUNCTION wallet.set_ip_rules IS 'Sets the networks from which a wallet may be used. NULL or an empty array allows all networks. Errors: 22023, 42501, WL009, WL003, WL006, WL004.';
COMMENT ON FUNCTION wallet.write_key IS 'Does the work of create_key(), with networks as text.';
COMMENT ON FUNCTION wallet.write_ip_rules IS 'Does the work of set_ip_rules(), with networks as text.';
COMMENT ON FUNCTION wallet.set_devices IS 'Sets the devices from which a wallet may be used. NULL or an empty array allows all devices. Errors: 22023, 42501, WL009, WL003, WL006, WL004.';
COMMENT ON FUNCTION wallet.set_member IS 'Adds a member to a wallet, or changes the given settings of a member. Errors: 22023, 42501, WL009, WL003, WL006, WL004.';
COMMENT ON FUNCTION wallet.set_members IS 'Adds many members to a wallet, or changes the given settings of them: all of them or none. Errors: 22023, 42501, WL009, WL003, WL006, WL004.';
COMMENT ON FUNCTION wallet.create_keys IS 'Creates many keys and returns their secrets: all of them or none. The secrets are shown only once; a replay returns none. Errors: 22023, 42501, WL009, WL003, WL006, WL004.';
COMMENT ON FUNCTION wallet.drop_member IS 'Removes a member from a wallet. Errors: 22023, 42501, WL009, WL003, WL006, WL004, 42704.';
COMMENT ON FUNCTION wallet.rotate_key IS 'Gives a key a new secret. The old secret remains valid during the overlap. Errors: 22023, 42501, WL009, WL003, WL006, WL004, 42704.';
COMMENT ON FUNCTION wallet.revoke_key IS 'Revokes a key permanently. Errors: 22023, 42501, WL009, WL003, WL006, WL004, 42704.';
COMMENT ON FUNCTION wallet.set_model_rules IS 'Sets which models a wallet, a team or a user may use. NULL for both lists drops the rule. Errors: 22023, 42501, WL009, WL003, WL006, WL004.';
