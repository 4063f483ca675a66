-- The euro foreign exchange reference rates of the European Central Bank, once a day. The bank publishes them at about
-- 16:00 Central European Time on each of its working days, and they count from then on. Another run changes nothing.
--
--     15 16 * * 1-5  psql -X -q -v ON_ERROR_STOP=1 -d app -f ecb_rates.sql
--
-- Rates are of one euro. A wallet in euros that pays dollar prices is charged by the inverse; a wallet in another
-- currency needs rates of its own, such as USD to CHF: there is no way over the euro.

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
