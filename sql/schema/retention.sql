-- How long rows are kept. Without a row here, they are kept permanently.
CREATE TABLE wallet.retention_rules (
    what         text PRIMARY KEY,
    keep         interval NOT NULL,
    changed_at   timestamptz NOT NULL
);
COMMENT ON TABLE wallet.retention_rules IS 'How long rows of a kind are kept. The view retention shows all kinds.';

CREATE VIEW wallet.retention WITH (security_invoker = true) AS
SELECT k.what, r.keep, k.meaning, r.changed_at
  FROM (VALUES ('deliveries', 'deliveries that arrived or were given up'),
               ('events', 'finished events without deliveries, from when they were finished'),
               ('audit', 'rows of the audit trail'),
               ('unread_usage', 'places in usage objects that nothing reads, from their first charge'),
               ('answers', 'first answers of calls that set a limit, a member or another state, for their retries'),
               ('holds', 'closed holds, except settled ones with an idempotency key'),
               ('topups', 'top-ups that succeeded or failed, except those of rules with a maximum for their lifetime'),
               ('payloads', 'usage objects, tags and metadata of archived charges')) AS k(what, meaning)
  LEFT JOIN wallet.retention_rules r ON r.what = k.what;
COMMENT ON VIEW wallet.retention IS 'How long rows of each kind are kept, as set_retention() has set it.';
COMMENT ON COLUMN wallet.retention.keep IS 'How long they are kept; NULL: permanently.';
COMMENT ON COLUMN wallet.retention.meaning IS 'The rows of the kind.';
