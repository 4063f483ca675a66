-- Records the euro foreign exchange reference rates of the European Central Bank. Run it once per
-- working day. The bank publishes the rates at about 16:00 Central European Time, and they are
-- effective from then on. Running it again on the same day changes nothing. As a line of a crontab:
--
--     15 16 * * 1-5  psql -X -q -v ON_ERROR_STOP=1 -d app -f ecb_rates.sql
--
-- Each rate is the value of one euro. A wallet in euros pays dollar prices by the inverse of the
-- rate. Rates are never combined: a wallet in francs that pays dollar prices needs a rate from USD
-- to CHF.

\if :{?xml}
\else
\set xml `curl --fail --silent --show-error --max-time 60 https://www.ecb.europa.eu/stats/eurofxref/eurofxref-daily.xml`
\endif

WITH published AS (
    SELECT r.day, jsonb_object_agg(r.currency, r.rate) AS rates
      FROM XMLTABLE(XMLNAMESPACES('http://www.ecb.int/vocabulary/2002-08-01/eurofxref' AS ecb),
                    '//ecb:Cube[@currency]' PASSING XMLPARSE(DOCUMENT :'xml')
                    COLUMNS day date PATH '../@time', currency text PATH '@currency', rate numeric PATH '@rate') r
     GROUP BY r.day
)
SELECT p.day, count(*) AS rates, count(*) FILTER (WHERE s.added) AS added
  FROM published p,
       wallet.set_fx_rates('EUR', p.rates, (p.day + time '16:00') AT TIME ZONE 'Europe/Berlin', 'ECB') s
 GROUP BY p.day;
