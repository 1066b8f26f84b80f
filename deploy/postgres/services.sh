# One role and one database for each service, and who may come in. Postgres runs this at its first start; run it again after
# changing a password or adding a service, as deploy/README.md says: what is there already stays.

admin() { psql -v ON_ERROR_STOP=1 -q -U "${POSTGRES_USER:-postgres}" -d postgres "$@"; }

# A line for pg_hba.conf. A service with a password proves that it knows it. One without is believed to be what it says if it
# speaks from a network that this container is in: there is one, and only services with a database are in it.
rule() { echo "host $1 $1 samenet $([ -n "$2" ] && echo scram-sha-256 || echo trust)"; }

service() { # name, password or nothing
    admin -v name="$1" -v password="$2" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
SELECT format('ALTER ROLE %I PASSWORD %s', :'name', coalesce(quote_literal(nullif(:'password', '')), 'NULL')) \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'name') \gexec
SQL
}

service auth "$AUTH_POSTGRES_PASSWORD"
service vehicles "$VEHICLES_POSTGRES_PASSWORD"

# The superuser only from inside of this container, nobody else from anywhere.
{
    echo "local all ${POSTGRES_USER:-postgres} trust"
    echo "host all ${POSTGRES_USER:-postgres} 127.0.0.1/32 trust"
    rule auth "$AUTH_POSTGRES_PASSWORD"
    rule vehicles "$VEHICLES_POSTGRES_PASSWORD"
} >"$PGDATA/pg_hba.conf"
admin -c 'SELECT pg_reload_conf()' >/dev/null
