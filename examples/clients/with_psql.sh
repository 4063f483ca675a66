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
INSERT INTO answers (request, answer) VALUES (:'request', :'answer') ON CONFLICT DO NOTHING;
COMMIT;
SQL
    ); do
        status=$?
        case $said in
            # A conflict with another transaction, a server that stops or starts, or a standby.
            *"ERROR:  40001:"* | *"ERROR:  40P01:"* | *"ERROR:  25006:"* | *"FATAL:  57P0"[123]*) ;;
            # 2: the connection broke, or there is none.
            *) [ "$status" -eq 2 ] || break ;;
        esac
        # Again, with the same key and a new connection, for half a minute: longer than a failover.
        [ "$attempt" -lt 60 ] || break
        attempt=$((attempt + 1))
        sleep 0.5
    done
    printf '%s\n' "$said"
}

charge req-1 forty-two 0.000000000001 |
    sed -E 's/^Asynchronous notification .*"event":"([a-z_]+)","wallet":"([^"]+)".*/heard \1 of \2/'
charge req-2 'too dear' 2000000000000000 |
    sed -E -e 's/^ERROR:  //' -e 's/^(DETAIL|HINT):  /\1: /' -e '/^(LOCATION|[A-Z]+ NAME):/d'
