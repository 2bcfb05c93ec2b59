# Makes and starts a Postgres cluster as Debian's package does.
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
version=$(basename "$(dirname "$bin")")
data=/var/lib/postgresql/$version/main etc=/etc/postgresql/$version/main
install -d -o postgres -g postgres /run/postgresql /var/log/postgresql /var/lib/postgresql
rm -rf "$etc"
install -d -o postgres -g postgres "$etc"
runuser -u postgres -- "$bin/initdb" --pgdata="$data" --auth-local=peer --auth-host=scram-sha-256 \
  --encoding=UTF8 --no-locale --no-sync > /var/log/postgresql/initdb.log
mv "$data"/{pg_hba,pg_ident,postgresql}.conf "$etc"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=postgres \
  -keyout "$etc/server.key" -out "$etc/server.crt" 2> /dev/null
chown postgres: "$etc"/*
chmod 600 "$etc/server.key"
cat >> "$etc/postgresql.conf" <<END
data_directory = '$data'
hba_file = '$etc/pg_hba.conf'
ident_file = '$etc/pg_ident.conf'
unix_socket_directories = '/run/postgresql'
listen_addresses = 'localhost'
fsync = off
ssl = on
ssl_cert_file = '$etc/server.crt'
ssl_key_file = '$etc/server.key'
END
systemctl start postgresql
