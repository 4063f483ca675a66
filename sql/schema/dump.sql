-- Users' rows belong into a dump.
SELECT pg_catalog.pg_extension_config_dump('wallet.wallets', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.allowances', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.thresholds', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.requests', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.ledger', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.unpriced_charges', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.funding_requests', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.fx_rates', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.vouchers', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.outbox', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.topup_rules', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.topup_requests', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.prices', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.markups', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.usage_mappings', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.limits', '');
SELECT pg_catalog.pg_extension_config_dump('wallet.access_grants', '');
