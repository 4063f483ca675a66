#!/usr/bin/env bash
# install.sh MAJOR, in a Debian system without PostgreSQL: apt installs /root/wallet.deb with its
# dependencies, the tour runs in the cluster that Debian creates, and walletd of /root/walletd.deb
# serves it with the settings of its unit. Removing the packages leaves nothing of them.
set -euo pipefail
major=$1
name=postgresql-$major-wallet
[ ! -e /usr/lib/postgresql ]
# The user of apt can read the package there.
cp /root/wallet.deb /root/walletd.deb /tmp/
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
# Without a running systemd, the unit is verified, and its command is run by hand.
apt-get install -y -q --no-install-recommends /tmp/walletd.deb systemd curl
dpkg --verify walletd
systemd-analyze verify /lib/systemd/system/walletd.service
walletd setup-sql | as_postgres psql -qX -d tour -v ON_ERROR_STOP=1 -o /dev/null
as_postgres psql -qX -d tour -v ON_ERROR_STOP=1 \
    -c "ALTER ROLE walletd_tenants PASSWORD 'tenants-of-the-test'" -c "ALTER ROLE walletd_worker PASSWORD 'worker-of-the-test'"
sed -i -e 's|^tenants = .*|tenants = "postgres://walletd_tenants:tenants-of-the-test@127.0.0.1/tour"|' \
    -e 's|^worker = .*|worker = "postgres://walletd_worker:worker-of-the-test@127.0.0.1/tour"|' /etc/walletd/walletd.toml
walletd --config /etc/walletd/walletd.toml check
key=$(as_postgres psql -qXAt -d tour -c "SELECT secret FROM wallet.create_key((SELECT min(wallet_id) FROM wallet.wallets WHERE status = 'active'))")
command=$(sed -n 's|^ExecStart=\(.*\)%d/walletd.toml|\1/etc/walletd/walletd.toml|p' /lib/systemd/system/walletd.service)
$command 2>/var/log/walletd.log &
daemon=$!
curl --silent --show-error --fail --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:9464/readyz
curl --silent --show-error --fail -H "Authorization: Bearer $key" http://127.0.0.1:8080/v1/wallet
kill "$daemon"
wait "$daemon"
apt-get purge -y -q walletd
for file in /usr/bin/walletd /etc/walletd /lib/systemd/system/walletd.service; do [ ! -e "$file" ] || { echo "$file stays"; exit 1; }; done
as_postgres psql -qX -d tour -v ON_ERROR_STOP=1 -c 'DROP EXTENSION wallet'
files=$(dpkg -L "$name" | grep -E 'wallet\.so$|/extension/wallet' | sort)
[ "$(wc -l <<<"$files")" -ge 3 ]
apt-get purge -y -q "$name"
for file in $files; do [ ! -e "$file" ] || { echo "$file stays"; exit 1; }; done
pg_ctlcluster "$major" main stop
