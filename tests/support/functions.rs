//! Every function of the schema, with a call that is valid except for the rights of the caller. A
//! test that uses this list calls [`Scene::new`], which fails if the extension has another
//! function.

use std::collections::{BTreeMap, HashMap};

use postgres::Client;

use crate::calls::archive;

/// The levels that a role can be granted, as in docs/reference/access.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    None,
    Reader,
    Auditor,
    Charger,
    Billing,
    Worker,
    Admin,
    /// No level of its own: what both worker and billing may do.
    Events,
}

impl Level {
    /// All of them.
    pub const ALL: [Level; 7] = [
        Level::None,
        Level::Reader,
        Level::Auditor,
        Level::Charger,
        Level::Billing,
        Level::Worker,
        Level::Admin,
    ];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Level::None => "none",
            Level::Reader => "reader",
            Level::Auditor => "auditor",
            Level::Charger => "charger",
            Level::Billing => "billing",
            Level::Worker => "worker",
            Level::Admin => "admin",
            Level::Events => "events",
        }
    }

    /// Whether the level includes the other one. Neither of charger and billing includes the other,
    /// and a worker is not a reader.
    pub fn covers(self, needed: Level) -> bool {
        needed == Level::None
            || self == Level::Admin
            || self == needed
            || needed == Level::Reader && self != Level::None && self != Level::Worker
            || needed == Level::Events && matches!(self, Level::Worker | Level::Billing)
    }
}

/// What a call reaches, and so where the level must have been granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The wallet in its argument: refused on another wallet.
    Wallet,
    /// The same, but on another wallet the call finds no rows.
    Rows,
    /// The wallet of a row that only its id names: on another wallet the row does not exist.
    Id,
    /// Whatever the caller may see: the level on any wallet.
    Any,
    /// All wallets: the level on `*`.
    All,
    /// Only the owner and superusers.
    Inside,
}

/// A function and a call of it.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    pub name: &'static str,
    pub level: Level,
    pub reach: Reach,
    /// The SQL, with placeholders: `{w}` and others for what [`Scene`] has of a wallet, `{a}` for
    /// the actor.
    pub call: &'static str,
}

const fn f(level: Level, reach: Reach, name: &'static str, call: &'static str) -> Function {
    Function {
        name,
        level,
        reach,
        call,
    }
}

use Level::{Admin, Billing, Charger, Events, None as Nobody, Reader, Worker};
use Reach::{All, Any, Id, Inside, Rows, Wallet};

/// The whole API. Calls qualify every name, so that a hostile search path changes nothing in them.
/// Days are those of UTC, as the wallets count them: `'today'` would be another day, and on the last
/// of a month another month, in a session of another time zone.
#[rustfmt::skip]
pub const FUNCTIONS: &[Function] = &[
    f(Reader, Wallet, "balance_at", "wallet.balance_at({w}, 'now')"),
    f(Reader, Wallet, "chargeback", "wallet.chargeback({w}, (pg_catalog.now() AT TIME ZONE 'UTC')::pg_catalog.date, 'USD')"),
    f(Reader, Wallet, "chargeback_rows", "wallet.chargeback_rows({w}, (pg_catalog.now() AT TIME ZONE 'UTC')::pg_catalog.date, 'team', NULL)"),
    f(Reader, Wallet, "chargeback", "wallet.chargeback(ARRAY[{w}], (pg_catalog.now() AT TIME ZONE 'UTC')::pg_catalog.date, 'tag:project')"),
    f(Reader, Wallet, "check_limits", "wallet.check_limits({w}, 'ann', amount => 1)"),
    f(Reader, Wallet, "focus_csv", "wallet.focus_csv(NULL, NULL, {w})"),
    f(Reader, Wallet, "forecast", "wallet.forecast({w})"),
    f(Reader, Wallet, "journal", "wallet.journal({w})"),
    f(Reader, Wallet, "readable_wallet", "wallet.readable_wallet({w})"),
    f(Reader, Wallet, "report", "wallet.report({w}, currency => 'USD')"),
    f(Reader, Wallet, "reprice", "wallet.reprice({w})"),
    f(Reader, Wallet, "compare_charges", "wallet.compare_charges({w})"),
    f(Reader, Wallet, "savings", "wallet.savings({w})"),
    f(Reader, Wallet, "statement", "wallet.statement({w}, currency => 'USD')"),
    f(Reader, Wallet, "statement_lines", "wallet.statement_lines({w}, NULL, NULL, NULL, NULL)"),
    f(Reader, Wallet, "statement_html", "wallet.statement_html({w}, (pg_catalog.now() AT TIME ZONE 'UTC')::pg_catalog.date)"),
    f(Reader, Wallet, "newest_rolled", "wallet.newest_rolled({w}, 'ann', NULL, NULL, NULL, NULL, 5)"),
    f(Reader, Wallet, "newest_unrolled", "wallet.newest_unrolled({w}, 'ann', NULL, NULL, NULL, NULL, 5)"),
    f(Reader, Wallet, "transactions", "wallet.transactions({w}, 'ann')"),
    f(Reader, Wallet, "descendants", "wallet.descendants({w})"),
    f(Reader, Wallet, "usage_by_child", "wallet.usage_by_child({w})"),
    f(Reader, Wallet, "reported_wallets", "wallet.reported_wallets(ARRAY[{w}])"),
    f(Reader, Any, "span_in", "wallet.span_in('UTC', NULL, NULL, NULL, NULL)"),
    f(Reader, Wallet, "journal_summary", "wallet.journal_summary(ARRAY[{w}])"),
    f(Reader, Wallet, "promotional_at", "wallet.promotional_at({w}, 'now')"),
    f(Reader, Wallet, "balances_at", "wallet.balances_at('now', ARRAY[{w}])"),
    f(Reader, Any, "check_cursor", "wallet.check_cursor(NULL)"),
    f(Reader, Wallet, "changes", "wallet.changes(NULL, 5, ARRAY[{w}])"),
    f(Reader, Any, "check_dimensions", "wallet.check_dimensions('{user,day}')"),
    f(Reader, Wallet, "usage_groups", "wallet.usage_groups(ARRAY[{w}], '{user,day}', NULL, NULL, NULL, NULL, NULL)"),
    f(Reader, Wallet, "usage", "wallet.usage(ARRAY[{w}], '{user,day}')"),
    f(Reader, Wallet, "usage_by", "wallet.usage_by({w}, 'user', currency => 'USD')"),
    f(Reader, Wallet, "usage_rows", "wallet.usage_rows({w}, 'user', NULL, NULL)"),
    f(Reader, Wallet, "exchange_rates", "wallet.exchange_rates({w}, 'USD', '{now}')"),
    f(Reader, Wallet, "usage_headers", "wallet.usage_headers({w}, {entry})"),
    f(Reader, Wallet, "verify", "wallet.verify({w}, {digest})"),
    f(Reader, Wallet, "price_usage", r#"wallet.price_usage('{"model":"fn-m","input_tokens":5}', {w})"#),
    f(Reader, Wallet, "choose_model", r#"wallet.choose_model({w}, '{"input_tokens":5}', '{fn-m,ghost}', 'ann')"#),
    f(Reader, Wallet, "compare_models", r#"wallet.compare_models('{"model":"fn-m","input_tokens":5}', '{fn-m}', {w})"#),
    f(Reader, Rows, "verify_chain", "wallet.verify_chain({w})"),
    f(Reader, Any, "hour_of", "wallet.hour_of('now', 'UTC')"),
    f(Reader, Any, "day_begins", "wallet.day_begins('2026-03-01', 'UTC')"),
    f(Reader, Wallet, "span_of", "wallet.span_of({w}, NULL, NULL, NULL, NULL)"),
    f(Reader, Wallet, "recount", "wallet.recount({w}, {digest})"),
    f(Reader, Wallet, "rolled_before", "wallet.rolled_before({w}, 'now')"),
    f(Reader, Wallet, "booked_before", "wallet.booked_before({w}, 'now')"),
    f(Reader, Wallet, "booked_ids", "wallet.booked_ids({w}, '-infinity', 'infinity')"),
    f(Reader, Rows, "lots_now", "wallet.lots_now({w})"),
    f(Reader, Rows, "lots_at", "wallet.lots_at({w}, 'now')"),
    f(Reader, Wallet, "due_entries", "wallet.due_entries({w}, 'now')"),
    f(Reader, Wallet, "due_lots", "wallet.due_lots({w}, 'now')"),
    f(Reader, Wallet, "due_balance", "wallet.due_balance({w}, 'now')"),
    f(Reader, Rows, "payments_of", "wallet.payments_of({w})"),
    f(Reader, Wallet, "unrolled_from", "wallet.unrolled_from({w})"),
    f(Reader, Any, "digest", "wallet.digest()"),
    f(Reader, Any, "balances_in", "wallet.balances_in('USD')"),
    f(Reader, Any, "exchanged", "wallet.exchanged(1, 1, false)"),
    f(Reader, Any, "convert_amount", "wallet.convert_amount(1, 'USD', 'USD')"),
    f(Reader, Any, "entry_lines", "wallet.entry_lines({lines})"),
    f(Reader, Any, "entry_usage", "wallet.entry_usage('fn-m', {lines})"),
    f(Reader, Any, "person_digest", "wallet.person_digest(NULL, NULL, NULL, NULL)"),
    f(Reader, Any, "payload_digest", "wallet.payload_digest(NULL, NULL, NULL, NULL, NULL, NULL)"),
    f(Reader, Any, "error_codes", "wallet.error_codes()"),
    f(Reader, Any, "explain_usage", r#"wallet.explain_usage('{"model":"fn-m","input_tokens":5}')"#),
    f(Reader, Any, "normalize_usage", r#"wallet.normalize_usage('{"model":"fn-m","input_tokens":5}')"#),
    f(Reader, Any, "period_end", "wallet.period_end('day', 1, 'UTC', 'now')"),
    f(Reader, Any, "key_owner", "wallet.key_owner('wk_unknown')"),
    f(Reader, Any, "readable_price_lists", "wallet.readable_price_lists()"),
    f(Reader, Any, "readable_wallets", "wallet.readable_wallets()"),
    f(Reader, Wallet, "plan_of", "wallet.plan_of({w})"),
    f(Reader, Wallet, "rules_of", "wallet.rules_of({w})"),
    f(Reader, Wallet, "limits_now", "wallet.limits_now({w}, 'now')"),
    f(Reader, Wallet, "expired_held", "wallet.expired_held({w}, 'now')"),
    f(Reader, Any, "day_begun", "wallet.day_begun('2026-03-01Z', 'UTC')"),
    f(Reader, Any, "entry_tokens", "wallet.entry_tokens({lines}, true)"),
    f(Reader, Any, "usage_attributes", "wallet.usage_attributes('[]', 'fn-m')"),
    f(Charger, Wallet, "charge", r#"wallet.charge({w}, '{"model":"fn-m","input_tokens":5}'{a})"#),
    f(Charger, Wallet, "charge_batch", r#"wallet.charge_batch({w}, '[{"amount":1}]'{a})"#),
    f(Charger, Wallet, "charge_batch", r#"wallet.charge_batch('[{"wallet":{"w"},"amount":1}]'{a})"#),
    f(Charger, Wallet, "extend_hold", "wallet.extend_hold({w}, {hold}{a})"),
    f(Charger, Wallet, "hold", "wallet.hold({w}, amount => 1{a})"),
    f(Charger, Wallet, "settle", "wallet.settle({w}, {hold}, amount => 1{a})"),
    f(Charger, Wallet, "void", "wallet.void({w}, {hold}{a})"),
    f(Billing, Wallet, "approve_hold", "wallet.approve_hold({w}, {waiting}{a})"),
    f(Billing, Wallet, "deny_hold", "wallet.deny_hold({w}, {waiting}{a})"),
    f(Events, Wallet, "complete_topup", "wallet.complete_topup({w}, {topup}, 'paid'{a})"),
    f(Billing, Wallet, "fail_funding", "wallet.fail_funding({w}, {pending}, 'bounced'{a})"),
    f(Events, Wallet, "fail_topup", "wallet.fail_topup({w}, {topup}, 'declined'{a})"),
    f(Billing, Wallet, "fund", "wallet.fund({w}, 1{a})"),
    f(Billing, Wallet, "price_unpriced", "wallet.price_unpriced({w}{a})"),
    f(Billing, Wallet, "redeem_voucher", "wallet.redeem_voucher({w}, 'fn-voucher'{a})"),
    f(Billing, Wallet, "refund", "wallet.refund({w}, {entry}{a})"),
    f(Billing, Wallet, "reverse_funding", "wallet.reverse_funding({w}, {funding}, 'bounced'{a})"),
    f(Billing, Wallet, "set_chargeback_rule", "wallet.set_chargeback_rule({w}, 'even'{a})"),
    f(Billing, Wallet, "set_recurring_grant", "wallet.set_recurring_grant({w}, 1{a})"),
    f(Billing, Wallet, "set_run_out_alert", "wallet.set_run_out_alert({w}, 7{a})"),
    f(Billing, Wallet, "set_topup_rule", r#"wallet.set_topup_rule({w}, '{"threshold":5,"amount":10}'{a})"#),
    f(Billing, Wallet, "settle_funding", "wallet.settle_funding({w}, {pending}{a})"),
    f(Billing, Wallet, "void_grant", "wallet.void_grant({w}, {grant}{a})"),
    f(Events, Id, "finish_event", "wallet.finish_event({event})"),
    f(Events, Id, "retry_event", "wallet.retry_event({event})"),
    f(Events, Any, "claim_events", "wallet.claim_events()"),
    f(Events, Any, "claim_deliveries", "wallet.claim_deliveries()"),
    f(Events, Wallet, "finish_delivery", "wallet.finish_delivery({w}, {delivery})"),
    f(Events, Wallet, "retry_delivery", "wallet.retry_delivery({w}, {delivery})"),
    f(Billing, Wallet, "resend_delivery", "wallet.resend_delivery({w}, {delivery})"),
    f(Admin, Wallet, "set_destination", "wallet.set_destination({w}, 'email', 'a@example.com'{a})"),
    f(Admin, Wallet, "rotate_destination", "wallet.rotate_destination({w}, 'default'{a})"),
    f(Admin, Wallet, "drop_destination", "wallet.drop_destination({w}, 'default'{a})"),
    f(Events, Any, "request_due_topups", "wallet.request_due_topups()"),
    f(Admin, Wallet, "adjust", "wallet.adjust({w}, 1{a})"),
    f(Admin, Wallet, "archive", "wallet.archive({w}, '2026-01-01Z'{a})"),
    f(Admin, Wallet, "erase_user", "wallet.erase_user('zoe', {w}{a})"),
    f(Admin, Wallet, "close_wallet", "wallet.close_wallet({empty}{a})"),
    f(Admin, Wallet, "create_key", "wallet.create_key({w}, 'ann'{a})"),
    f(Admin, Wallet, "drop_limit", "wallet.drop_limit({w}, {limit}{a})"),
    f(Admin, Wallet, "drop_member", "wallet.drop_member({w}, 'ann'{a})"),
    f(Admin, Wallet, "freeze_wallet", "wallet.freeze_wallet({w}{a})"),
    f(Admin, Wallet, "raise_limit", "wallet.raise_limit({w}, {limit}, 1{a})"),
    f(Admin, Wallet, "revoke_key", "wallet.revoke_key({w}, {key}{a})"),
    f(Admin, Wallet, "rotate_key", "wallet.rotate_key({w}, {key}{a})"),
    f(Admin, Wallet, "set_bonus", r#"wallet.set_bonus({w}, '[{"from":50,"percent":5}]'{a})"#),
    f(Admin, Wallet, "set_devices", "wallet.set_devices({w}, '{laptop}'{a})"),
    f(Admin, Wallet, "set_ip_rules", "wallet.set_ip_rules({w}, '{10.0.0.0/8}'{a})"),
    f(Admin, Wallet, "set_parent", "wallet.set_parent({empty}, NULL{a})"),
    f(Admin, Wallet, "set_lanes", "wallet.set_lanes({w}, 2{a})"),
    f(Admin, Wallet, "create_keys", r#"wallet.create_keys({w}, '[{"user_id":"ann","name":"laptop"}]'{a})"#),
    f(Admin, Wallet, "set_limits", r#"wallet.set_limits({w}, '[{"max":5,"period":"month"}]'{a})"#),
    f(Admin, Wallet, "set_members", r#"wallet.set_members({w}, '[{"user_id":"bob2"}]'{a})"#),
    f(Admin, Wallet, "set_limit", "wallet.set_limit({w}, 5, 'month'{a})"),
    f(Admin, Wallet, "set_member", "wallet.set_member({w}, 'bob'{a})"),
    f(Admin, Wallet, "set_model_rules", "wallet.set_model_rules({w}, allowed => '{fn-*}'{a})"),
    f(Admin, Wallet, "transfer", "wallet.transfer({w}, {peer}, 1{a})"),
    f(Admin, Wallet, "unfreeze_wallet", "wallet.unfreeze_wallet({frozen}{a})"),
    f(Admin, Wallet, "assign_plan", "wallet.assign_plan({w}, NULL{a})"),
    f(Admin, Wallet, "update_wallet", "wallet.update_wallet({w}, credit_limit => 1{a})"),
    f(Admin, Wallet, "use_price_list", "wallet.use_price_list({w}, 'default'{a})"),
    f(Admin, Wallet, "write_ip_rules", "wallet.write_ip_rules({w}, '{10.0.0.0/8}', NULL, {actor}, NULL)"),
    f(Admin, Wallet, "write_key", "wallet.write_key({w}, 'ann', NULL, NULL, NULL, NULL, NULL, NULL, {actor}, NULL)"),
    f(Admin, Wallet, "grant_access", "wallet.grant_access({other_role}, 'reader', {w}{a})"),
    f(Admin, Wallet, "revoke_access", "wallet.revoke_access({reader_role}, 'reader', {w}{a})"),
    f(Worker, All, "announce_run_outs", "wallet.announce_run_outs()"),
    f(Admin, All, "create_voucher", "wallet.create_voucher('fn-new', 1{a})"),
    f(Admin, All, "create_wallet", "wallet.create_wallet('fn-new'{a})"),
    f(Admin, All, "create_wallets", r#"wallet.create_wallets('[{"wallet":"fn-new2"}]'{a})"#),
    f(Admin, All, "import_prices", r#"wallet.import_prices('litellm', '{"fn-x":{"input_cost_per_token":1e-6,"mode":"chat"}}', 'fn-imported'{a})"#),
    f(Worker, All, "maintain", "wallet.maintain()"),
    f(Worker, All, "drop_old", "wallet.drop_old()"),
    f(Worker, All, "prune_windows", "wallet.prune_windows()"),
    f(Worker, All, "roll_up", "wallet.roll_up()"),
    f(Admin, Wallet, "close_period", "wallet.close_period({w}, '2020-01-01Z'{a})"),
    f(Admin, Wallet, "reopen_period", "wallet.reopen_period({w}, NULL{a})"),
    f(Admin, All, "set_retention", "wallet.set_retention('events', '30 days'{a})"),
    f(Admin, All, "set_fx_rate", "wallet.set_fx_rate('EUR', 'USD', 1.1{a})"),
    f(Admin, All, "set_fx_rates", r#"wallet.set_fx_rates('EUR', '{"CHF":0.95}'{a})"#),
    f(Admin, All, "drop_metric", "wallet.drop_metric('fn-points'{a})"),
    f(Admin, All, "set_metric", r#"wallet.set_metric('fn-metric', '{"input_tokens":1,"output_tokens":4}'{a})"#),
    f(Admin, All, "set_markup", "wallet.set_markup('fn-list', 20{a})"),
    f(Admin, All, "set_plan", "wallet.set_plan('fn-plan', '{}'{a})"),
    f(Admin, All, "set_price", "wallet.set_price('fn-n', 'input_tokens', 1{a})"),
    f(Admin, All, "set_usage_mapping", r#"wallet.set_usage_mapping('fn-map', NULL{a})"#),
    f(Worker, All, "sweep_expired", "wallet.sweep_expired()"),
    f(Nobody, Inside, "without_person", "wallet.without_person('zoe', 'zoe', 'x', 'name')"),
    f(Nobody, Inside, "announce_change", "wallet.announce_change()"),
    f(Nobody, Inside, "apply_privileges", "wallet.apply_privileges({other_role})"),
    f(Nobody, Inside, "level_role", "wallet.level_role('reader')"),
    f(Nobody, Inside, "make_level_role", "wallet.make_level_role('reader')"),
    f(Nobody, Inside, "set_privileges", "wallet.set_privileges({other_role}, '{}')"),
    f(Nobody, Inside, "privileges", "wallet.privileges()"),
    f(Nobody, Inside, "refuse_change", "wallet.refuse_change()"),
    f(Nobody, Inside, "refuse_loss", "wallet.refuse_loss()"),
    f(Nobody, Inside, "refuse_overdraft", "wallet.refuse_overdraft()"),
];

/// What the catalog says about a function.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Whether it is VOLATILE, so that it writes.
    pub writes: bool,
    /// Whether it has an argument `actor`.
    pub has_actor: bool,
}

/// Wallets of the same shape, each with a hold, a limit, a key and so on: everything that valid
/// calls need.
pub struct Scene {
    values: HashMap<&'static str, HashMap<&'static str, String>>,
    declared: BTreeMap<String, Vec<Declared>>,
    roles: [String; 2],
}

const IDS: &[(&str, &str)] = &[
    (
        "hold",
        "SELECT hold_id::text FROM wallet.holds WHERE wallet = $1 AND status = 'open'",
    ),
    (
        "waiting",
        "SELECT hold_id::text FROM wallet.holds WHERE wallet = $1 AND status = 'waiting'",
    ),
    (
        "entry",
        "SELECT entry_id::text FROM wallet.entries WHERE wallet = $1 AND kind = 'charge' AND model = 'fn-m'",
    ),
    (
        "funding",
        "SELECT entry_id::text FROM wallet.fundings WHERE wallet = $1 AND reference = 'fn-paid'",
    ),
    (
        "pending",
        "SELECT entry_id::text FROM wallet.fundings WHERE wallet = $1 AND status = 'pending'",
    ),
    (
        "grant",
        "SELECT grant_id::text FROM wallet.grants WHERE wallet = $1 AND promotional",
    ),
    (
        "topup",
        "SELECT topup_id::text FROM wallet.topups WHERE wallet = $1",
    ),
    (
        "limit",
        "SELECT limit_id::text FROM wallet.limits_status WHERE wallet = $1 AND period = 'rolling 5 hours'",
    ),
    (
        "key",
        "SELECT key_id::text FROM wallet.keys WHERE wallet = $1",
    ),
    (
        "event",
        "SELECT id::text FROM wallet.events WHERE wallet = $1",
    ),
    (
        "delivery",
        "SELECT delivery_id::text FROM wallet.deliveries WHERE wallet_id = $1",
    ),
    (
        "lines",
        "SELECT lines::text FROM wallet.ledger WHERE wallet_id = $1 AND model = 'fn-m'",
    ),
    (
        "slices",
        "SELECT slices::text FROM wallet.allowances WHERE wallet_id = $1 AND slices IS NOT NULL",
    ),
    ("digest", "SELECT wallet.digest()::text WHERE $1 <> ''"),
];

/// A literal with the same meaning for every `standard_conforming_strings`.
fn quoted(text: &str) -> String {
    let text = text.replace('\'', "''");
    if text.contains('\\') {
        return format!("E'{}'", text.replace('\\', "\\\\"));
    }
    format!("'{text}'")
}

impl Scene {
    /// Creates the wallets as a superuser, each together with `NAME-peer`, `NAME-empty` and
    /// `NAME-frozen`. The first role has no grant, the second is a reader of all wallets.
    ///
    /// # Panics
    /// When a function of the extension is not in [`FUNCTIONS`], or the other way round.
    pub fn new(client: &mut Client, wallets: &[&'static str], roles: [&str; 2]) -> Scene {
        let declared = catalog(client);
        let mut prices = String::from(
            "SELECT wallet.set_price('fn-m', 'input_tokens', 0.01, effective_from => '2020-01-01Z');
             SELECT wallet.set_markup('fn-list', 10);
             SELECT wallet.set_metric('fn-points', '{\"input_tokens\": 2}');
             SELECT wallet.create_voucher('fn-voucher', 5, max_redemptions => 1000);",
        );
        for wallet in wallets {
            prices += &format!(
                "SELECT wallet.create_wallet('{wallet}-frozen');
                 SELECT wallet.create_wallet('{wallet}-empty');
                 SELECT wallet.create_wallet('{wallet}-peer');
                 SELECT wallet.create_wallet('{wallet}');
                 SELECT wallet.freeze_wallet('{wallet}-frozen');
                 SELECT wallet.fund('{wallet}', 1000, reference => 'fn-paid');
                 SELECT wallet.fund('{wallet}', 7, reference => 'fn-late', status => 'pending');
                 SELECT wallet.fund('{wallet}', 9, promotional => true, expires_at => 'tomorrow');
                 SELECT wallet.set_limit('{wallet}', 900, 'rolling 5 hours');
                 SELECT wallet.set_destination('{wallet}', 'webhook', 'https://example.com/hook');
                 SELECT wallet.set_topup_rule('{wallet}', '{{\"threshold\":900,\"amount\":10}}');
                 SELECT wallet.set_run_out_alert('{wallet}', 7);
                 SELECT wallet.set_member('{wallet}', 'ann', 'member', 'red');
                 SELECT wallet.create_key('{wallet}', 'ann');
                 SELECT wallet.charge('{wallet}', '{{\"model\":\"fn-m\",\"input_tokens\":5}}', user_id => 'ann');
                 SELECT wallet.charge('{wallet}', amount => 200, user_id => 'bob');
                 SELECT wallet.update_wallet('{wallet}', unknown_price => 'unpriced');
                 SELECT wallet.charge('{wallet}', '{{\"model\":\"fn-late\",\"pages\":1,\"steps\":3}}');
                 SELECT wallet.update_wallet('{wallet}', unknown_price => 'reject');
                 SELECT wallet.hold('{wallet}', amount => 3, ttl => '1 day');
                 SELECT wallet.set_limit('{wallet}', 300, 'request', mode => 'approve');
                 SELECT wallet.hold('{wallet}', amount => 301, ttl => '1 day');"
            );
        }
        prices +=
            "SELECT wallet.set_price('fn-late', 'pages', 0.01, effective_from => '2020-01-01Z');";
        prices += "SELECT wallet.roll_up(now() + interval '1 day');";
        client.batch_execute(&prices).expect("the scene");
        // A separate statement: only entries booked before it are moved.
        for wallet in wallets {
            archive(client, wallet, Some(1)).expect("an archive");
        }
        let mut values = HashMap::new();
        for wallet in wallets {
            let mut ids = HashMap::new();
            for (name, sql) in IDS {
                let row = client
                    .query(&format!("{sql} LIMIT 1"), &[wallet])
                    .unwrap_or_else(|error| panic!("{name}: {error:?}"));
                let row = row
                    .first()
                    .unwrap_or_else(|| panic!("{wallet} has no {name}"));
                ids.insert(*name, row.get(0));
            }
            values.insert(*wallet, ids);
        }
        Scene {
            values,
            declared,
            roles: roles.map(str::to_owned),
        }
    }

    /// The wallet and the three wallets that the scene creates with it.
    pub fn wallets_of(wallet: &str) -> [String; 4] {
        ["", "-peer", "-empty", "-frozen"].map(|end| format!("{wallet}{end}"))
    }

    /// The call on a wallet, as text. For a wallet that is not in the scene, the ids are those of
    /// `ids_of`.
    pub fn call(&self, function: &Function, wallet: &str, actor: Option<&str>) -> String {
        self.call_with(function, wallet, wallet, actor)
    }

    /// The call on one wallet with the ids of another.
    pub fn call_with(
        &self,
        function: &Function,
        wallet: &str,
        ids_of: &str,
        actor: Option<&str>,
    ) -> String {
        let mut sql = function
            .call
            .replace("{w}", &quoted(wallet))
            .replace("{\"w\"}", &format!("\"{wallet}\""))
            .replace(
                "{a}",
                &actor.map_or(String::new(), |a| format!(", actor => {}", quoted(a))),
            )
            .replace("{actor}", &actor.map_or("NULL".to_owned(), quoted))
            .replace("{other_role}", &quoted(&self.roles[0]))
            .replace("{reader_role}", &quoted(&self.roles[1]));
        for end in ["peer", "empty", "frozen"] {
            sql = sql.replace(&format!("{{{end}}}"), &quoted(&format!("{wallet}-{end}")));
        }
        for (name, value) in &self.values[ids_of] {
            sql = sql.replace(&format!("{{{name}}}"), &quoted(value));
        }
        // A trigger function cannot be called in FROM.
        match function.reach {
            Reach::Inside => format!("SELECT {sql}"),
            _ => format!("SELECT * FROM {sql}"),
        }
    }

    /// What the catalog says about the overloads of a function, which agree in it.
    pub fn declared(&self, name: &str) -> &Declared {
        &self.declared[name][0]
    }
}

/// The functions of the extension by name, after a check that [`FUNCTIONS`] has exactly these.
fn catalog(client: &mut Client) -> BTreeMap<String, Vec<Declared>> {
    let rows = client
        .query(
            "SELECT p.proname::text, p.provolatile = 'v', coalesce('actor' = ANY (p.proargnames), false)
               FROM pg_proc p
               JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
               JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'wallet'
              WHERE p.prokind = 'f'",
            &[],
        )
        .expect("pg_proc");
    let mut declared: BTreeMap<String, Vec<Declared>> = BTreeMap::new();
    for row in rows {
        let (writes, has_actor) = (row.get(1), row.get(2));
        declared
            .entry(row.get(0))
            .or_default()
            .push(Declared { writes, has_actor });
    }
    let mut listed: BTreeMap<&str, usize> = BTreeMap::new();
    for function in FUNCTIONS {
        *listed.entry(function.name).or_default() += 1;
        let forms = declared.get(function.name);
        let forms = forms.unwrap_or_else(|| panic!("{} does not exist", function.name));
        assert_eq!(
            function.call.contains("{a}") || function.call.contains("{actor}"),
            forms[0].has_actor,
            "the call of {} must name an actor where there is one",
            function.name
        );
    }
    for (name, forms) in &declared {
        let count = listed.get(name.as_str()).copied().unwrap_or(0);
        assert_eq!(
            count,
            forms.len(),
            "forms of {name} in tests/support/functions.rs"
        );
    }
    declared
}
