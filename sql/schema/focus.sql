-- The ledger in FOCUS 1.2, with all columns of the standard. A wallet is prepaid: the top-up is the
-- purchase and is billed. Usage is billed at zero and has an effective cost.

CREATE VIEW wallet.focus WITH (security_invoker = true) AS
SELECT NULL::text AS "AvailabilityZone",
       trim_scale(CASE WHEN t.paid THEN l.amount ELSE 0 END) AS "BilledCost",
       l.wallet_id AS "BillingAccountId",
       l.wallet_id AS "BillingAccountName",
       w.currency AS "BillingCurrency",
       (t.month + interval '1 month') AT TIME ZONE w.time_zone AS "BillingPeriodEnd",
       t.month AT TIME ZONE w.time_zone AS "BillingPeriodStart",
       t.category AS "ChargeCategory",
       -- Only for a billing period that is over. Within the current period, it is not a correction
       -- in the sense of the standard.
       CASE WHEN t.month > t.related_month THEN 'Correction' END AS "ChargeClass",
       CASE l.kind WHEN 'c' THEN concat_ws(' ', coalesce(l.model, l.service, 'usage'), u.meter, l.reason)
                   ELSE concat_ws(', ', coalesce(l.contra, 'usage:' || concat_ws('/', l.provider, coalesce(l.model, l.service, 'other'))), l.reason) END AS "ChargeDescription",
       CASE l.kind WHEN 'c' THEN 'Usage-Based' ELSE 'One-Time' END AS "ChargeFrequency",
       t.at + interval '1 second' AS "ChargePeriodEnd",
       t.at AS "ChargePeriodStart",
       u.quantity AS "ConsumedQuantity",
       u.unit AS "ConsumedUnit",
       c.listed AS "ContractedCost",
       c.effective AS "EffectiveCost",
       CASE WHEN l.kind IN ('f', 'b') THEN l.reference END AS "InvoiceId",
       coalesce(l.provider, 'wallet') AS "InvoiceIssuerName",
       c.listed AS "ListCost",
       CASE WHEN t.category IN ('Usage', 'Purchase') THEN 'Standard' END AS "PricingCategory",
       p.quantity AS "PricingQuantity",
       p.unit AS "PricingUnit",
       coalesce(l.provider, 'wallet') AS "ProviderName",
       coalesce(l.provider, 'wallet') AS "PublisherName",
       l.region AS "RegionId",
       l.region AS "RegionName",
       l.model AS "ResourceId",
       l.model AS "ResourceName",
       CASE WHEN l.model IS NOT NULL THEN 'Model' END AS "ResourceType",
       'AI and Machine Learning' AS "ServiceCategory",
       coalesce(l.service, 'AI usage') AS "ServiceName",
       'Generative AI' AS "ServiceSubcategory",
       k.sku AS "SkuId",
       l.team AS "SubAccountId",
       l.team AS "SubAccountName",
       -- Values are strings, numbers or booleans. A user's own tag takes precedence over the
       -- generated one.
       jsonb_strip_nulls(jsonb_build_object('user_id', l.user_id))
           || coalesce((SELECT jsonb_object_agg(g.key, CASE WHEN jsonb_typeof(g.value) IN ('object', 'array') THEN to_jsonb(g.value::text) ELSE g.value END)
                          FROM jsonb_each(l.tags) g), '{}') AS "Tags",
       l.entry_id AS "x_EntryId",
       NULL::text AS "CapacityReservationId",
       NULL::text AS "CapacityReservationStatus",
       NULL::text AS "CommitmentDiscountCategory",
       NULL::text AS "CommitmentDiscountId",
       NULL::text AS "CommitmentDiscountName",
       NULL::numeric AS "CommitmentDiscountQuantity",
       NULL::text AS "CommitmentDiscountStatus",
       NULL::text AS "CommitmentDiscountType",
       NULL::text AS "CommitmentDiscountUnit",
       p.unit_price AS "ContractedUnitPrice",
       p.unit_price AS "ListUnitPrice",
       'Wallet' AS "BillingAccountType",
       CASE WHEN l.team IS NOT NULL THEN 'Team' END AS "SubAccountType",
       coalesce(u.currency, w.currency) AS "PricingCurrency",
       p.priced_at AS "PricingCurrencyContractedUnitPrice",
       -- The cost in the currency of the price. If the row is charged only in part, the same part
       -- of it.
       CASE WHEN u.rate IS NULL THEN c.effective
            WHEN c.effective = u.amount THEN trim_scale(wallet.exchanged(u.quantity, u.price, false, u.per))
            ELSE trim_scale(wallet.exchanged(c.effective, u.rate, NOT u.inverse)) END AS "PricingCurrencyEffectiveCost",
       p.priced_at AS "PricingCurrencyListUnitPrice",
       CASE WHEN k.sku IS NOT NULL THEN coalesce(u.meter, 'amount') END AS "SkuMeter",
       NULL::jsonb AS "SkuPriceDetails",
       CASE WHEN k.sku IS NOT NULL THEN concat_ws('/', k.sku, u.price_id) END AS "SkuPriceId",
       l.reference AS "x_Reference",
       l.user_id AS "x_UserId",
       trim_scale(CASE l.kind WHEN 'c' THEN -c.effective ELSE l.amount END) AS "x_Amount"
  FROM (SELECT l.wallet_id, l.entry_id, l.created_at, l.event_at, l.related_id, l.kind, l.call, l.amount, l.user_id, l.team, l.provider,
               l.model, l.service, l.region, l.lines, l.tags, l.contra, l.reference, l.reason
          FROM wallet.ledger_all l
         UNION ALL
        -- Due entries count, booked or not.
        SELECT o.wallet_id, NULL, d.at, d.at, d.grant_id, CASE d.kind WHEN 'expiry' THEN 'x' ELSE 'f' END::"char",
               CASE d.kind WHEN 'expiry' THEN 'x' ELSE 'g' END::"char", d.amount, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, d.contra, NULL, NULL
          FROM wallet.wallets o
         CROSS JOIN LATERAL wallet.due_entries(o.wallet_id, statement_timestamp()) d
         WHERE o.grants_due <= statement_timestamp()) l
  JOIN wallet.wallets w ON w.wallet_id = l.wallet_id
 CROSS JOIN LATERAL (
       -- The month of the entry that this one refunds, takes back or prices.
       SELECT CASE WHEN l.kind IN ('r', 'b') OR l.call = 'p' THEN
                  (SELECT date_trunc('month', CASE WHEN r.event_at >= '0001-01-01Z' AND r.event_at < '9999-01-01Z' THEN r.event_at ELSE r.created_at END AT TIME ZONE w.time_zone)
                     FROM wallet.ledger_all r WHERE r.wallet_id = l.wallet_id AND r.entry_id = l.related_id) END AS related_month,
              -- The standard and calendars do not support other years.
              CASE WHEN l.event_at >= '0001-01-01Z' AND l.event_at < '9999-01-01Z' THEN l.event_at ELSE l.created_at END AS at,
              -- Promotional credit and vouchers were not bought.
              CASE l.kind WHEN 'f' THEN l.entry_id IS NOT NULL AND l.contra <> 'funding:voucher' AND NOT coalesce((SELECT g.promotional FROM wallet.grant_lots g WHERE g.wallet_id = l.wallet_id AND g.grant_id = l.entry_id), false)
                          WHEN 'b' THEN l.contra <> 'funding:voucher' AND NOT coalesce((SELECT g.promotional FROM wallet.grant_lots g WHERE g.wallet_id = l.wallet_id AND g.grant_id = l.related_id), false)
                          ELSE false END AS paid
       -- OFFSET 0: computed once per row, however many columns use it.
       OFFSET 0) o
 CROSS JOIN LATERAL (
       SELECT o.related_month, o.paid, date_trunc('second', o.at) AS at, date_trunc('month', o.at AT TIME ZONE w.time_zone) AS month,
              CASE WHEN l.kind = 'c' THEN 'Usage' WHEN l.kind = 'f' AND o.paid THEN 'Purchase' WHEN l.kind IN ('f', 'r') THEN 'Credit' ELSE 'Adjustment' END AS category) t
 -- A charge has one row per meter, and one row if it has no meter.
  LEFT JOIN LATERAL (
       SELECT x.meter, x.quantity, x.price, x.per, x.amount, x.price_id, x.currency, x.rate, x.inverse, x.n,
              sum(x.amount) OVER (ORDER BY x.n) AS upto, sum(x.amount) OVER () AS "all",
              CASE WHEN x.meter LIKE E'%\\_tokens' THEN 'Tokens' WHEN x.meter LIKE '%images' THEN 'Images' WHEN x.meter LIKE '%pages' THEN 'Pages'
                   WHEN x.meter LIKE '%pixels' THEN 'Pixels' WHEN x.meter LIKE '%characters' THEN 'Characters' WHEN x.meter LIKE '%seconds' THEN 'Seconds'
                   WHEN x.meter = 'markup' THEN w.currency WHEN x.meter = 'markup_fee' THEN 'Requests'
                   ELSE initcap(replace(x.meter, '_', ' ')) END AS unit
         FROM (SELECT e.n, e.line ->> 'meter' AS meter, trim_scale((e.line ->> 'quantity')::numeric) AS quantity,
                      (e.line ->> 'unit_price')::numeric AS price, (e.line ->> 'per')::numeric AS per,
                      trim_scale((e.line ->> 'amount')::numeric) AS amount, e.line ->> 'price_id' AS price_id,
                      e.line ->> 'currency' AS currency, (e.line ->> 'rate')::numeric AS rate,
                      coalesce((e.line ->> 'inverse')::boolean, false) AS inverse
                 FROM jsonb_array_elements(wallet.entry_lines(l.lines)) WITH ORDINALITY e(line, n)) x) u ON l.kind = 'c'
 CROSS JOIN LATERAL (
       SELECT CASE WHEN t.category = 'Usage' THEN concat_ws('/', l.provider, coalesce(l.model, l.service, 'usage'), u.meter)
                   WHEN t.category = 'Purchase' THEN 'prepaid' END AS sku) k
 CROSS JOIN LATERAL (
       -- The listed cost is the result of the prices. The effective cost is the booked amount,
       -- which is lower if the charge was capped and may differ if the provider reported the cost.
       -- In that case it is distributed across the lines, so that they add up to it.
       SELECT trim_scale(CASE l.kind WHEN 'c' THEN coalesce(u.amount, -l.amount) WHEN 'r' THEN -l.amount ELSE CASE WHEN t.paid THEN l.amount ELSE 0 END END) AS listed,
              trim_scale(CASE WHEN l.kind = 'r' THEN -l.amount
                              WHEN l.kind <> 'c' THEN 0
                              WHEN u."all" IS NULL THEN -l.amount
                              WHEN u."all" = -l.amount THEN u.amount
                              WHEN u."all" > 0 THEN round(-l.amount * u.upto / u."all", 12) - round(-l.amount * (u.upto - u.amount) / u."all", 12)
                              WHEN u.n = 1 THEN -l.amount
                              ELSE 0 END) AS effective) c
 CROSS JOIN LATERAL (
       -- Usage without a meter is priced as one unit. The standard does not allow negative unit
       -- prices; the quantity of a discount is negative instead.
       SELECT CASE WHEN u.meter IS NOT NULL THEN CASE WHEN u.price < 0 THEN -u.quantity ELSE u.quantity END
                   WHEN t.category IN ('Usage', 'Purchase') THEN 1 END AS quantity,
              CASE WHEN u.meter IS NOT NULL THEN u.unit WHEN t.category IN ('Usage', 'Purchase') THEN 'Units' END AS unit,
              CASE WHEN u.meter IS NOT NULL
                   THEN trim_scale(CASE WHEN u.rate IS NULL THEN abs(u.price) / u.per
                                        WHEN u.inverse THEN u.price / (u.per * u.rate) ELSE u.price * u.rate / u.per END)
                   WHEN t.category IN ('Usage', 'Purchase') THEN c.listed END AS unit_price,
              CASE WHEN u.meter IS NOT NULL THEN trim_scale(abs(u.price) / u.per)
                   WHEN t.category IN ('Usage', 'Purchase') THEN c.listed END AS priced_at) p;
COMMENT ON VIEW wallet.focus IS 'The ledger in the columns of FOCUS 1.2. Usage is billed at zero and has its cost as EffectiveCost, one row per meter. A top-up is a Purchase with a BilledCost and no EffectiveCost. focus_csv() exports it.';
COMMENT ON COLUMN wallet.focus."BilledCost" IS 'The amount paid, for a paid funding; the amount taken back, negative, for its chargeback. Zero for all other rows, including promotional credit and vouchers.';
COMMENT ON COLUMN wallet.focus."EffectiveCost" IS 'The booked cost of usage; negative for a refund. Zero for all other rows.';
COMMENT ON COLUMN wallet.focus."ConsumedQuantity" IS 'The quantity of SkuMeter that was used. NULL if no meter measured it.';
COMMENT ON COLUMN wallet.focus."PricingQuantity" IS 'Equal to ConsumedQuantity, but negative for a discount, whose unit price is the amount taken off.';
COMMENT ON COLUMN wallet.focus."PricingCurrency" IS 'The currency of the price and of the columns whose names begin with PricingCurrency; the wallet''s currency if the price needed no conversion. Other unit prices and costs are converted at the rate of the charge.';
COMMENT ON COLUMN wallet.focus."x_Amount" IS 'The row''s part of the ledger amount. All rows of a wallet add up to its balance minus its debt.';

CREATE FUNCTION wallet.focus_csv("from" timestamptz, "to" timestamptz, wallet text DEFAULT NULL) RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
-- The standard requires times in UTC.
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    IF focus_csv.wallet IS NOT NULL THEN
        PERFORM wallet.readable_wallet(focus_csv.wallet);
    END IF;
    IF focus_csv."from" > focus_csv."to" THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = '"from" is after "to"',
            DETAIL = 'The span of time ends before it begins.', HINT = 'Give the earlier time as "from"; "to" is not included.';
    END IF;
    RETURN NEXT (SELECT string_agg(a.attname, ',' ORDER BY a.attnum)
                   FROM pg_attribute a
                  WHERE a.attrelid = 'wallet.focus'::regclass AND a.attnum > 0 AND NOT a.attisdropped);
    RETURN QUERY
        SELECT (SELECT string_agg(CASE WHEN v.value ~ '[",\r\n]' OR v.value = '' THEN '"' || replace(v.value, '"', '""') || '"' ELSE coalesce(v.value, '') END, ',' ORDER BY v.n)
                  FROM (SELECT CASE -- A payment's reference is not an invoice, and validators
                                    -- require an id for all rows or for none.
                                    WHEN c.name = 'InvoiceId' THEN NULL
                                    WHEN c.name LIKE '%Period%' THEN replace(c.value, '+00:00', 'Z')
                                    -- Readers that infer types would infer integers for a
                                    -- column without a decimal point.
                                    WHEN c.name ~ '(Cost|Quantity|UnitPrice|Amount)$' AND c.value !~ '[.]' THEN c.value || '.0'
                                    ELSE c.value END AS value, c.n
                          FROM json_each_text(row_to_json(f)) WITH ORDINALITY c(name, value, n)) v)
          FROM wallet.focus f
         WHERE (focus_csv.wallet IS NULL OR f."BillingAccountId" = focus_csv.wallet)
           AND (focus_csv."from" IS NULL OR f."ChargePeriodStart" >= focus_csv."from")
           AND (focus_csv."to" IS NULL OR f."ChargePeriodStart" < focus_csv."to")
         ORDER BY f."BillingAccountId", f."ChargePeriodStart", f."x_EntryId", f."SkuMeter";
END
$$;
COMMENT ON FUNCTION wallet.focus_csv IS 'Exports the view focus as CSV with a header, one line per row, for one wallet or for all wallets that the caller may read. Times are in ISO 8601 and UTC. Errors: 22023, 42501, WL003.';
