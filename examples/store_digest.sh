#!/bin/sh
# Verifies every wallet against the last digest in a directory, then stores the present digest
# there.
#
#     store_digest.sh DIRECTORY
#
# The connection is configured by PGHOST, PGDATABASE and so on. The role needs
# wallet.grant_access(role, 'reader'). The directory should be where nobody who can write to the
# database can write. If something does not match, the script prints it, stores nothing and ends
# with status 1. If nothing was booked since, the digest is the same text, and no file is added.
set -eu
directory=${1:?usage: store_digest.sh DIRECTORY}
mkdir -p "$directory"
last=$(find "$directory" -name 'digest-*.json' | LC_ALL=C sort | tail -n 1)

if [ -n "$last" ]; then
    # A wallet in the digest that the database no longer has is an error too.
    wrong=$(LAST=$last psql -XAtq -v ON_ERROR_STOP=1 <<'SQL'
\set digest `cat "$LAST"`
SELECT w.wallet || ': ' || v."check" || ': ' || v.detail
  FROM (SELECT jsonb_object_keys(:'digest'::jsonb -> 'wallets') UNION SELECT b.wallet FROM wallet.balances b) AS w (wallet)
 CROSS JOIN LATERAL wallet.verify(w.wallet, :'digest') v
 WHERE NOT v.ok;
SQL
    )
    if [ -n "$wrong" ]; then
        printf '%s does not match:\n%s\n' "$last" "$wrong"
        exit 1
    fi
fi

new=$(mktemp "$directory/new.XXXXXX")
trap 'rm -f "$new"' EXIT
psql -XAtq -v ON_ERROR_STOP=1 -c 'SELECT wallet.digest()' >"$new"
if [ -n "$last" ] && cmp -s "$new" "$last"; then
    echo "unchanged since $last"
else
    name=$directory/digest-$(date -u +%Y-%m-%dT%H-%M-%SZ).json
    mv "$new" "$name"
    echo "stored $name"
fi
