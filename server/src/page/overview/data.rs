//! The figures of the overview, read in one snapshot.

use serde::Deserialize;

/// $2 is the wallet, $3 the first day of the running month, $4 today in the wallet's time zone.
/// They are constants, so that PostgreSQL plans for this wallet. Tags are those of the last
/// charges.
pub const OVERVIEW: &str = "SELECT pg_catalog.json_build_object( \
    'balance', b.balance::text, 'held', b.held::text, 'available', b.available::text, 'debt', b.debt::text, \
    'credit_limit', b.credit_limit::text, \
    'pending', (SELECT coalesce(sum(f.amount), 0.00)::text FROM wallet.fundings f WHERE f.wallet = $2 AND f.status = 'pending'), \
    'month', pg_catalog.to_char($3::date, 'FMMonth YYYY'), \
    'spent', (SELECT coalesce(sum(u.cost), 0)::text FROM wallet.usage_by($2, 'model', from_day => $3::date) u), \
    'by', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', d.name, 'rows', ( \
               SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('value', u.value, 'cost', u.cost::text, \
                          'requests', u.requests, 'tokens', u.tokens, 'percent', pg_catalog.round(100 * u.share, 1)::text) \
                          ORDER BY u.ordinality), '[]') \
                 FROM wallet.usage_by($2, d.dimension, from_day => $3::date) WITH ORDINALITY u \
                WHERE u.ordinality <= 8)) ORDER BY d.place) \
             FROM (SELECT v.place, v.name, v.dimension FROM (VALUES (1, 'Model', 'model'), (2, 'User', 'user'), (3, 'Team', 'team')) \
                       AS v (place, name, dimension) \
                   UNION ALL \
                   (SELECT 4, 'Tag ' || k.tag, 'tag:' || k.tag \
                     FROM (SELECT DISTINCT pg_catalog.jsonb_object_keys(e.tags) AS tag \
                             FROM (SELECT x.tags FROM wallet.transactions($2, kind => 'charge', max => 100) x \
                                    WHERE pg_catalog.jsonb_typeof(x.tags) = 'object') e) k \
                    ORDER BY k.tag LIMIT 3)) d), \
    'days', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('day', d.day::date, 'label', pg_catalog.to_char(d.day, 'FMDD Mon'), \
                        'cost', coalesce(u.costs ->> d.day::date::text, '0.00')) ORDER BY d.day) \
               FROM (SELECT coalesce(pg_catalog.jsonb_object_agg(x.value, x.cost::text), '{}') AS costs \
                       FROM wallet.usage_by($2, 'day', from_day => $4::date - 29) x OFFSET 0) u \
              CROSS JOIN pg_catalog.generate_series($4::date - 29, $4::date, interval '1 day') AS d (day)), \
    'forecast', (SELECT pg_catalog.json_build_object('daily_burn', f.daily_burn::text, 'days_left', f.days_left::text, \
                        'runs_out', pg_catalog.to_char(f.runs_out_at AT TIME ZONE w.time_zone, 'YYYY-MM-DD'), \
                        'earliest', pg_catalog.to_char(f.earliest AT TIME ZONE w.time_zone, 'YYYY-MM-DD'), \
                        'latest', pg_catalog.to_char(f.latest AT TIME ZONE w.time_zone, 'YYYY-MM-DD'), \
                        'suggested', f.suggested_topup::text, 'basis', f.basis) FROM wallet.forecast($2) f), \
    'limits', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('scope', l.scope, 'subject', l.subject, \
                        'period', l.period, 'metric', l.metric, 'mode', l.mode, 'max', l.max::text, 'used', l.used::text, \
                        'held', l.held::text, 'remaining', l.remaining::text, 'percent', pg_catalog.round(l.percent, 1)::text, \
                        'resets_at', pg_catalog.to_char(l.resets_at AT TIME ZONE w.time_zone, 'YYYY-MM-DD HH24:MI'), 'paused', l.paused) \
                        ORDER BY l.percent DESC NULLS LAST, l.limit_id, l.subject), '[]') \
                 FROM (SELECT * FROM wallet.limits_status s WHERE s.wallet = $2 AND s.period <> 'request' \
                        ORDER BY s.percent DESC NULLS LAST LIMIT 12) l), \
    'alerts', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('event', e.event, 'threshold', e.threshold::text, \
                        'subject', e.payload ->> 'subject', \
                        'at', pg_catalog.to_char(e.created_at AT TIME ZONE w.time_zone, 'YYYY-MM-DD HH24:MI')) ORDER BY e.id DESC), '[]') \
                 FROM (SELECT * FROM wallet.events x WHERE x.wallet = $2 ORDER BY x.id DESC LIMIT 8) e), \
    'grants', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('amount', g.amount::text, 'remaining', g.remaining::text, \
                        'promotional', g.promotional, \
                        'expires_at', pg_catalog.to_char(g.expires_at AT TIME ZONE w.time_zone, 'YYYY-MM-DD HH24:MI')) \
                        ORDER BY g.priority, g.expires_at NULLS LAST, g.promotional DESC, g.created_at), '[]') \
                 FROM (SELECT * FROM wallet.grants y WHERE y.wallet = $2 AND y.status = 'active' \
                        ORDER BY y.priority, y.expires_at NULLS LAST LIMIT 20) g))::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.balances b ON b.wallet = $2 \
  JOIN wallet.wallets w ON w.wallet_id = $2 \
 WHERE o.wallet = $2";

/// All of it. Amounts are the digits of PostgreSQL.
#[derive(Debug, Deserialize)]
pub struct Overview {
    pub balance: String,
    pub held: String,
    pub available: String,
    pub debt: String,
    pub credit_limit: String,
    pub pending: String,
    pub month: String,
    pub spent: String,
    pub by: Vec<Dimension>,
    pub days: Vec<Day>,
    pub forecast: Forecast,
    pub limits: Vec<Limit>,
    pub alerts: Vec<Alert>,
    pub grants: Vec<Grant>,
}

/// The usage of the month by one dimension.
#[derive(Debug, Deserialize)]
pub struct Dimension {
    pub name: String,
    pub rows: Vec<Used>,
}

/// The usage of a value, such as a model.
#[derive(Debug, Deserialize)]
pub struct Used {
    pub value: Option<String>,
    pub cost: String,
    pub requests: i64,
    pub tokens: i64,
    pub percent: Option<String>,
}

/// The spending of a day.
#[derive(Debug, Deserialize)]
pub struct Day {
    pub day: String,
    pub label: String,
    pub cost: String,
}

/// How long the money lasts.
#[derive(Debug, Deserialize)]
pub struct Forecast {
    pub daily_burn: Option<String>,
    pub days_left: Option<String>,
    pub runs_out: Option<String>,
    pub earliest: Option<String>,
    pub latest: Option<String>,
    pub suggested: Option<String>,
    pub basis: Option<String>,
}

/// A limit with its usage.
#[derive(Debug, Deserialize)]
pub struct Limit {
    pub scope: String,
    pub subject: Option<String>,
    pub period: String,
    pub metric: String,
    pub mode: String,
    pub max: Option<String>,
    pub used: Option<String>,
    pub held: Option<String>,
    pub remaining: Option<String>,
    pub percent: Option<String>,
    pub resets_at: Option<String>,
    pub paused: bool,
}

impl Limit {
    /// Its scope, metric and period in words.
    pub fn name(&self) -> String {
        let whose = match (self.scope.as_str(), self.subject.as_deref()) {
            ("wallet", _) => "The wallet".to_owned(),
            (scope, Some("*")) => format!("Each {scope}"),
            (scope, subject) => format!("{scope} {}", subject.unwrap_or_default()),
        };
        format!("{whose}, {} per {}", self.metric, self.period)
    }

    /// The unit of its numbers.
    pub fn unit<'a>(&'a self, currency: &'a str) -> &'a str {
        match self.metric.as_str() {
            "amount" => currency,
            metric => metric,
        }
    }
}

/// An event of the wallet.
#[derive(Debug, Deserialize)]
pub struct Alert {
    pub event: String,
    pub threshold: Option<String>,
    pub subject: Option<String>,
    pub at: String,
}

/// A lot of credit.
#[derive(Debug, Deserialize)]
pub struct Grant {
    pub amount: String,
    pub remaining: String,
    pub promotional: bool,
    pub expires_at: Option<String>,
}
