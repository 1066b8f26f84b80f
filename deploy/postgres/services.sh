# Creates a role and a database for each service, and writes the access rules. Postgres runs this at its first start. Run it again
# after changing a password or adding a service (see deploy/README.md); existing roles and databases are kept.

admin() { psql -v ON_ERROR_STOP=1 -q -U "${POSTGRES_USER:-postgres}" -d postgres "$@"; }

# A line of pg_hba.conf. With a password, the service must authenticate with it. Without one, a connection from a network of this
# container is trusted; the only such network contains only the services that have a database.
rule() { echo "host $1 $1 samenet $([ -n "$2" ] && echo scram-sha-256 || echo trust)"; }

service() { # NAME PASSWORD; the password may be empty
    admin -v name="$1" -v password="$2" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
SELECT format('ALTER ROLE %I PASSWORD %s', :'name', coalesce(quote_literal(nullif(:'password', '')), 'NULL')) \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'name') \gexec
SQL
}

service auth "$AUTH_POSTGRES_PASSWORD"
service chat "$CHAT_POSTGRES_PASSWORD"
service vehicles "$VEHICLES_POSTGRES_PASSWORD"

# The superuser may connect only from inside this container; the services from their network; all other connections are refused.
{
    echo "local all ${POSTGRES_USER:-postgres} trust"
    echo "host all ${POSTGRES_USER:-postgres} 127.0.0.1/32 trust"
    rule auth "$AUTH_POSTGRES_PASSWORD"
    rule chat "$CHAT_POSTGRES_PASSWORD"
    rule vehicles "$VEHICLES_POSTGRES_PASSWORD"
} >"$PGDATA/pg_hba.conf"
admin -c 'SELECT pg_reload_conf()' >/dev/null
