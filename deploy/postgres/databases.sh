# A database for each service, with one user, whose URL goes into the volume that the service shares with this server and with
# nobody else. The image's entrypoint reads this once, when the server is new.
for service in auth vehicles; do
    password=$(head -c 32 /dev/urandom | base64 | tr -d '+/=')
    psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<SQL
CREATE ROLE $service LOGIN PASSWORD '$password';
CREATE DATABASE $service OWNER $service;
REVOKE CONNECT ON DATABASE $service FROM PUBLIC;
SQL
    echo "postgres://$service:$password@postgres:5432/$service" >"/handover/$service/database-url"
done
