#!/bin/sh
# Charges a wallet in the transaction that stores the answer, with psql.
# The connection is configured by PGHOST, PGDATABASE and so on.
set -eu

# charge REQUEST ANSWER COST: stores the charge and the answer, or neither. NUMERIC is text, and the
# shell never computes with it. psql prints the notifications of a session after its next query.
charge() {
    attempt=1
    until said=$(psql -XqAt -v ON_ERROR_STOP=1 -v VERBOSITY=verbose -v request="$1" -v answer="$2" -v cost="$3" 2>&1 <<'SQL'
LISTEN wallet_events;
BEGIN;
SELECT format('charged %s, %s is left', cost, balance)
  FROM wallet.charge('acme', amount => :'cost', idempotency_key => :'request');
INSERT INTO answers (request, answer) VALUES (:'request', :'answer');
COMMIT;
SQL
    ); do
        case $said in
            # A conflict with another transaction: run it again with the same key.
            *"ERROR:  40001:"* | *"ERROR:  40P01:"*) [ "$attempt" -lt 5 ] || break ;;
            *) break ;;
        esac
        attempt=$((attempt + 1))
        sleep 0.1
    done
    printf '%s\n' "$said"
}

charge req-1 forty-two 0.000000000001 |
    sed -E 's/^Asynchronous notification .*"event":"([a-z_]+)","wallet":"([^"]+)".*/heard \1 of \2/'
charge req-2 'too dear' 2000000000000000 |
    sed -E -e 's/^ERROR:  //' -e 's/^(DETAIL|HINT):  /\1: /' -e '/^(LOCATION|[A-Z]+ NAME):/d'
