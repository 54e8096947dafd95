# What every service's `run` and `check` begin with. Sourced by sh with the service's folder as the current one.
# shellcheck shell=sh
. "$CLINIC_STATE/services.env"
folder=$PWD

need() { # need SERVICE... : start what this service talks to, and wait until it is ready
    for service; do sv -w 180 start "$service" >/dev/null || { echo "$service is not ready: trying again"; exit 1; }; done
}

serve() { # serve COMMAND... : become the server, in a session that `finish` can end as a whole
    date -u +%Y-%m-%dT%H:%M:%S >"$folder/started"
    echo $$ >"$folder/session"
    exec chpst -P "$@"
}

answers() { # answers URL : whether it answers with success within 3 seconds
    curl --fail --silent --show-error --output /dev/null --max-time 3 "$1" 2>/dev/null
}
