#!/usr/bin/env bash
# install.sh MAJOR, in a Debian system without PostgreSQL: apt installs /root/wallet.deb with its
# dependencies, the tour runs in the cluster that Debian creates, and removing the package leaves
# nothing of it.
set -euo pipefail
major=$1
name=postgresql-$major-wallet
[ ! -e /usr/lib/postgresql ]
# The user of apt can read the package there.
cp /root/wallet.deb /tmp/
apt-get update -q
apt-get install -y -q --no-install-recommends /tmp/wallet.deb
dpkg --verify "$name"
pg_ctlcluster "$major" main start
cd /
as_postgres() { runuser -u postgres -- "$@"; }
as_postgres createdb tour
as_postgres psql -qX -d tour -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION wallet'
WALLET_LISTENER=/dev/null as_postgres psql -qX -d tour -v ON_ERROR_STOP=1 -f "/usr/share/doc/$name/examples/tour.sql" >/dev/null
broken=$(as_postgres psql -qXAt -d tour -c 'SELECT count(*) FILTER (WHERE NOT v.ok), count(*) > 5 FROM wallet.wallets w, wallet.verify(w.wallet_id) v')
[ "$broken" = '0|t' ] || { echo "verify: $broken"; exit 1; }
as_postgres psql -qX -d tour -v ON_ERROR_STOP=1 -c 'DROP EXTENSION wallet'
files=$(dpkg -L "$name" | grep -E 'wallet\.so$|/extension/wallet' | sort)
[ "$(wc -l <<<"$files")" -ge 3 ]
apt-get purge -y -q "$name"
for file in $files; do [ ! -e "$file" ] || { echo "$file stays"; exit 1; }; done
pg_ctlcluster "$major" main stop
